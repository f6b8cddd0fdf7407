package app.classifier

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

// From an RGB picture to the model's input: resize the short side (bilinear, averaging when it shrinks, as Pillow does;
// Bitmap.createScaledBitmap would skip pixels), crop the centre, scale to 0..1, normalise.

/** Pixels, three bytes each, row by row. */
class Picture(val width: Int, val height: Int, val rgb: ByteArray)

/** How the model wants pictures; [channelsLast] is the order of its input. */
class Settings(
    val height: Int,
    val width: Int,
    val resize: Int,
    val mean: List<Double>,
    val std: List<Double>,
    val channelsLast: Boolean,
)

/** What a new pixel is made of: pixels of the old line from [first] on, and their shares. */
private class Taps(val first: Int, val shares: DoubleArray)

/** The [kept] middle pixels of a line of [size] that is resized to [fresh]. */
private fun lineOf(size: Int, fresh: Int, kept: Int): List<Taps> {
    val start = max(0, round((fresh - kept) / 2.0).toInt())
    val scale = size.toDouble() / fresh
    val support = max(scale, 1.0) // a triangle as wide as a new pixel where it shrinks
    return List(min(kept, fresh - start)) { i ->
        val centre = (start + i + 0.5) * scale
        val first = max(0, floor(centre - support).toInt())
        val last = min(size - 1, floor(centre - support).toInt() + ceil(2 * support).toInt())
        val weights = DoubleArray(last - first + 1) { max(0.0, 1 - abs(first + it + 0.5 - centre) / support) }
        val sum = weights.sum()
        Taps(first, DoubleArray(weights.size) { weights[it] / sum })
    }
}

/** The centre crop, RGB values 0..255 row by row. */
fun resizedCrop(picture: Picture, settings: Settings): DoubleArray {
    val short = min(picture.width, picture.height)
    val columns = lineOf(picture.width, resized(settings.resize, picture.width, short), settings.width)
    val rows = lineOf(picture.height, resized(settings.resize, picture.height, short), settings.height)
    val top = rows.first().first
    val bottom = rows.last().first + rows.last().shares.size
    val line = columns.size * 3
    val narrowed = DoubleArray((bottom - top) * line)
    for (y in top until bottom) {
        columns.forEachIndexed { x, taps ->
            for (channel in 0 until 3) {
                var sum = 0.0
                for ((i, share) in taps.shares.withIndex()) {
                    val value = picture.rgb[(y * picture.width + taps.first + i) * 3 + channel]
                    sum += share * (value.toInt() and 0xff)
                }
                narrowed[(y - top) * line + x * 3 + channel] = round(sum)
            }
        }
    }
    val crop = DoubleArray(rows.size * line)
    rows.forEachIndexed { y, taps ->
        for (x in 0 until line) {
            var sum = 0.0
            for ((i, share) in taps.shares.withIndex()) sum += share * narrowed[(taps.first - top + i) * line + x]
            crop[y * line + x] = round(sum)
        }
    }
    return crop
}

private fun resized(side: Int, size: Int, short: Int) = (side.toLong() * size / short).toInt()

/** The model's input. */
fun preprocess(picture: Picture, settings: Settings): FloatArray {
    val crop = resizedCrop(picture, settings)
    val plane = settings.width * settings.height
    val input = FloatArray(3 * plane)
    for (i in 0 until plane) {
        for (channel in 0 until 3) {
            val value = (crop[3 * i + channel] / 255 - settings.mean[channel]) / settings.std[channel]
            input[if (settings.channelsLast) 3 * i + channel else channel * plane + i] = value.toFloat()
        }
    }
    return input
}
