package android.content

open class ContentResolver

open class Context {
    val assets: android.content.res.AssetManager get() = TODO()
    val contentResolver: ContentResolver get() = TODO()
    fun getString(id: Int, vararg values: Any): String = TODO()
}
