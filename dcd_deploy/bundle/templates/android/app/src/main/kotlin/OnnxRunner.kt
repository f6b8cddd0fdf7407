package app.classifier

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import android.content.res.AssetManager
import java.nio.FloatBuffer
import kotlin.math.max

/** The model in onnxruntime, on the processor. */
class OnnxRunner(content: ByteArray) : Runner {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(content, OrtSession.SessionOptions())
    private val input = session.inputNames.single()
    private val shape =
        (session.inputInfo.getValue(input).info as TensorInfo).shape.map { max(it, 1) }.toLongArray() // one picture

    override fun run(values: FloatArray): FloatArray =
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape).use { tensor ->
            session.run(mapOf(input to tensor)).use { results ->
                val logits = (results[0] as OnnxTensor).floatBuffer
                FloatArray(logits.remaining()).also(logits::get)
            }
        }
}

fun openRunner(
    @Suppress("UNUSED_PARAMETER") assets: AssetManager,
    @Suppress("UNUSED_PARAMETER") name: String,
    content: ByteArray,
): Runner = OnnxRunner(content)
