import app.classifier.Classifier
import app.classifier.Picture
import app.classifier.Runner
import app.classifier.resizedCrop
import app.classifier.settingsOf
import app.onnx.OnnxRunner
import java.io.ByteArrayInputStream
import java.io.DataInputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.imageio.ImageIO
import kotlin.system.exitProcess

// The plain Kotlin of the Android sample on a Java machine. The model runs in another program, which takes floats and
// gives floats; without a command, in onnxruntime's Java library.
//
//   pixels PICTURE SETTINGS          prints the crop's values
//   check ASSETS CLASSES [COMMAND …] checks the bundle, and classifies its picture

fun main(arguments: Array<String>) {
    try {
        if (arguments[0] == "pixels") pixels(File(arguments[1]), arguments[2])
        else check(File(arguments[1]), arguments[2].toInt(), arguments.drop(3))
    } catch (error: Exception) {
        System.err.println(error.message)
        exitProcess(1)
    }
    exitProcess(0)
}

fun pixels(picture: File, settings: String) =
    println(resizedCrop(decoded(picture.readBytes()), settingsOf(settings)).joinToString(" ") { it.toInt().toString() })

fun check(assets: File, classes: Int, command: List<String>) {
    val read = { name: String -> assets.resolve(name).readBytes() }
    val open = { name: String, content: ByteArray ->
        if (command.isEmpty()) OnnxRunner(content) else program(command + assets.resolve(name).path, classes)
    }
    val classifier = Classifier(read, open)
    val picture = decoded(read(classifier.picture))
    println("self-check passed: error ${classifier.selfCheck(picture)} of the outputs' range")
    val answer = classifier.classify(picture)
    println(answer.guesses.joinToString { "${it.label} %.1f".format(100 * it.probability) })
}

fun program(command: List<String>, classes: Int): Runner {
    val program = ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    Runtime.getRuntime().addShutdownHook(Thread(program::destroy))
    val answers = DataInputStream(program.inputStream)
    return Runner { values ->
        val sent = ByteBuffer.allocate(4 * values.size).order(ByteOrder.LITTLE_ENDIAN)
        values.forEach(sent::putFloat)
        program.outputStream.write(sent.array())
        program.outputStream.flush()
        val logits = ByteBuffer.wrap(ByteArray(4 * classes).also(answers::readFully)).order(ByteOrder.LITTLE_ENDIAN)
        FloatArray(classes) { logits.getFloat() }
    }
}

fun decoded(content: ByteArray): Picture {
    val image = ImageIO.read(ByteArrayInputStream(content)) ?: throw IllegalArgumentException("this is no picture")
    val rgb =
        ByteArray(3 * image.width * image.height) { i ->
            val pixel = i / 3
            (image.getRGB(pixel % image.width, pixel / image.width) shr (16 - 8 * (i % 3))).toByte()
        }
    return Picture(image.width, image.height, rgb)
}
