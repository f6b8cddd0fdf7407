package android.widget

import android.content.Context
import android.graphics.Bitmap
import android.view.View
import android.view.ViewGroup

open class TextView(context: Context) : View(context) {
    var text: CharSequence = ""
    fun setText(id: Int): Unit = TODO()
}

class Button(context: Context) : TextView(context)

class ImageView(context: Context) : View(context) {
    var adjustViewBounds = false
    fun setImageBitmap(bitmap: Bitmap?): Unit = TODO()
}

class LinearLayout(context: Context) : ViewGroup(context) {
    var orientation = 0
    companion object { const val VERTICAL = 1 }
}

class ScrollView(context: Context) : ViewGroup(context)
