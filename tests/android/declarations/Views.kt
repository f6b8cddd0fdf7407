package android.view

import android.content.Context

open class View(context: Context) {
    fun interface OnClickListener { fun onClick(view: View) }
    var isEnabled = true
    var fitsSystemWindows = false
    fun setOnClickListener(listener: OnClickListener?): Unit = TODO()
}

open class ViewGroup(context: Context) : View(context) {
    fun addView(view: View): Unit = TODO()
}
