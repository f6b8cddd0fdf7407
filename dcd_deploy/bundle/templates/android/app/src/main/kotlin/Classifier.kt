package app.classifier

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.abs
import kotlin.math.exp

// The bundle: its files, the model held against its golden outputs, pictures classified. Nothing here is Android's.

/** What runs the model: its input in, the logits out. */
fun interface Runner {
    fun run(values: FloatArray): FloatArray
}

/** A class and its probability, 0..1. */
class Guess(val label: String, val probability: Double)

/** The likeliest classes, the likeliest first, and what they took. */
class Answer(val guesses: List<Guess>, val preprocessingMs: Double, val modelMs: Double)

class SelfCheckFailed(reason: String) : Exception("self-check failed: $reason")

/**
 * Opens the bundle whose files [read] returns, and checks that they are those that were bundled. [open] makes a runner
 * of the model's file. It is for one thread at a time.
 */
class Classifier(private val read: (String) -> ByteArray, open: (String, ByteArray) -> Runner) {
    private val manifest = text("manifest.json")
    private val settings: Settings
    private val labels: List<String>
    private val runner: Runner

    /** The name of the bundle's own picture. */
    val picture = manifest.textOf("picture")

    init {
        val hashes = manifest.objectOf("sha256")
        for (name in Regex("\"([^\"]+)\":").findAll(hashes).map { it.groupValues[1] }) {
            if (sha256(read(name)) != hashes.textOf(name)) {
                throw SelfCheckFailed("'$name' is not the file that was bundled; write the bundle again")
            }
        }
        settings = settingsOf(text("preprocessing.json"))
        labels = text("labels.txt").removeSuffix("\n").split('\n')
        val classes = manifest.numberOf("classes").toInt()
        if (labels.size != classes) {
            throw SelfCheckFailed("${labels.size} lines in 'labels.txt', expected $classes, one a class")
        }
        val model = manifest.textOf("model")
        runner = open(model, read(model))
    }

    /** The largest error against the golden outputs, relative to the outputs' range. [shown] is the bundle's picture. */
    fun selfCheck(shown: Picture): Double {
        val range = manifest.numberOf("range")
        val allowed = manifest.numberOf("tolerance")
        val ofInput = worst(runner.run(floats("golden-input.bin")), floats("golden-output.bin"))
        val ofPicture = worst(runner.run(preprocess(shown, settings)), floats("picture-logits.bin"))
        val error = maxOf(ofInput, ofPicture) / range
        if (!(error <= allowed)) throw SelfCheckFailed("error $error of the outputs' range, allowed $allowed") // nor is NaN
        return error
    }

    fun classify(picture: Picture, count: Int = 3): Answer {
        val start = System.nanoTime()
        val input = preprocess(picture, settings)
        val ready = System.nanoTime()
        val logits = runner.run(input)
        val end = System.nanoTime()
        val probabilities = softmax(logits)
        val best = probabilities.indices.sortedByDescending { probabilities[it] }.take(count)
        return Answer(best.map { Guess(labels[it], probabilities[it]) }, (ready - start) / 1e6, (end - ready) / 1e6)
    }

    private fun text(name: String) = read(name).decodeToString()

    private fun floats(name: String): FloatArray {
        val values = ByteBuffer.wrap(read(name)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(values.remaining()).also(values::get)
    }

    private fun worst(found: FloatArray, wanted: FloatArray): Double {
        if (found.size != wanted.size) throw SelfCheckFailed("${found.size} classes, expected ${wanted.size}")
        return found.indices.maxOf { abs(found[it].toDouble() - wanted[it]) }
    }
}

fun softmax(logits: FloatArray): DoubleArray {
    val largest = logits.max()
    val powers = DoubleArray(logits.size) { exp((logits[it] - largest).toDouble()) }
    val sum = powers.sum()
    return DoubleArray(powers.size) { powers[it] / sum }
}

fun sha256(content: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

fun settingsOf(json: String) =
    Settings(
        height = json.numberOf("height").toInt(),
        width = json.numberOf("width").toInt(),
        resize = json.numberOf("resize").toInt(),
        mean = json.numbersOf("mean"),
        std = json.numbersOf("std"),
        channelsLast = json.textOf("layout") == "nhwc",
    )

// The few values of the bundle's JSON files, whose keys are all different.

private fun String.found(key: String, value: String): String =
    Regex("\"${Regex.escape(key)}\":\\s*$value").find(this)?.groupValues?.get(1)
        ?: throw SelfCheckFailed("no '$key' in the bundle's JSON files")

private fun String.textOf(key: String) = found(key, "\"([^\"]*)\"")

private fun String.numberOf(key: String) = found(key, "([-+.0-9eE]+)").toDouble()

private fun String.numbersOf(key: String) = found(key, "\\[([^\\]]*)\\]").split(',').map { it.trim().toDouble() }

private fun String.objectOf(key: String) = found(key, "\\{([^}]*)\\}")
