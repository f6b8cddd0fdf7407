package android.graphics

import android.content.ContentResolver
import android.content.res.AssetManager

class Bitmap {
    val width: Int get() = TODO()
    val height: Int get() = TODO()
    fun getPixels(to: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int): Unit = TODO()
}

class ColorSpace {
    enum class Named { SRGB }
    companion object { @JvmStatic fun get(name: Named): ColorSpace = TODO() }
}

class ImageDecoder {
    class Source
    class ImageInfo
    fun interface OnHeaderDecodedListener { fun onHeaderDecoded(decoder: ImageDecoder, info: ImageInfo, source: Source) }
    var allocator: Int = 0
    fun setTargetColorSpace(space: ColorSpace): Unit = TODO()
    companion object {
        const val ALLOCATOR_SOFTWARE = 1
        @JvmStatic fun createSource(assets: AssetManager, name: String): Source = TODO()
        @JvmStatic fun createSource(resolver: ContentResolver, uri: android.net.Uri): Source = TODO()
        @JvmStatic fun decodeBitmap(source: Source, listener: OnHeaderDecodedListener): Bitmap = TODO()
    }
}
