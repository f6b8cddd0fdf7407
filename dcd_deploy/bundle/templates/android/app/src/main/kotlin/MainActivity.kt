package app.classifier

import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts
import java.util.concurrent.Executors

/** One screen: the result of the self-check, a picture, its likeliest classes and the times. */
class MainActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor() // a classifier is for one thread
    private lateinit var classifier: Classifier
    private lateinit var check: TextView
    private lateinit var image: ImageView
    private lateinit var words: TextView
    private lateinit var choose: Button

    private val picker =
        registerForActivityResult(ActivityResultContracts.PickVisualMedia()) { uri ->
            if (uri != null) inBackground(words) { show(decoded(ImageDecoder.createSource(contentResolver, uri))) }
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        layOut()
        inBackground(check) {
            classifier = Classifier({ assets.open(it).use { file -> file.readBytes() } }) { name, content ->
                openRunner(assets, name, content)
            }
            val own = decoded(ImageDecoder.createSource(assets, classifier.picture))
            val error = classifier.selfCheck(own.pixels())
            runOnUiThread {
                check.text = getString(R.string.passed, "%.1e".format(error))
                choose.isEnabled = true
            }
            show(own)
        }
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun layOut() {
        check = TextView(this).apply { setText(R.string.opening) }
        image = ImageView(this).apply { adjustViewBounds = true }
        words = TextView(this)
        choose =
            Button(this).apply {
                setText(R.string.choose)
                isEnabled = false
                setOnClickListener {
                    picker.launch(PickVisualMediaRequest(ActivityResultContracts.PickVisualMedia.ImageOnly))
                }
            }
        val column =
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                fitsSystemWindows = true
                listOf(check, choose, image, words).forEach(::addView)
            }
        setContentView(ScrollView(this).apply { addView(column) })
    }

    /** Runs [work] in the worker; what goes wrong is written to [told]. */
    private fun inBackground(told: TextView, work: () -> Unit) =
        worker.execute {
            try {
                work()
            } catch (error: Exception) {
                runOnUiThread { told.text = error.message ?: error.toString() }
            }
        }

    private fun show(bitmap: Bitmap) {
        val answer = classifier.classify(bitmap.pixels())
        val lines = answer.guesses.map { getString(R.string.guess, it.label, 100 * it.probability) }
        val times = getString(R.string.times, answer.preprocessingMs, answer.modelMs)
        runOnUiThread {
            image.setImageBitmap(bitmap)
            words.text = (lines + times).joinToString("\n")
        }
    }

    /** Turned as its camera says, in sRGB, in memory that can be read. */
    private fun decoded(source: ImageDecoder.Source): Bitmap =
        ImageDecoder.decodeBitmap(source) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
        }
}

/** The RGB bytes of a bitmap, row by row. */
fun Bitmap.pixels(): Picture {
    val rgb = ByteArray(3 * width * height)
    val row = IntArray(width)
    for (y in 0 until height) {
        getPixels(row, 0, width, 0, y, width, 1)
        row.forEachIndexed { x, colour ->
            for (channel in 0 until 3) rgb[3 * (y * width + x) + channel] = (colour shr (16 - 8 * channel)).toByte()
        }
    }
    return Picture(width, height, rgb)
}
