package app.classifier

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** The model in LiteRT, on the processor; XNNPACK's flags are what the file was made for. */
class LiteRtRunner(assets: AssetManager, name: String) : Runner {
    private val model = CompiledModel.create(assets, name, options())
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    override fun run(values: FloatArray): FloatArray {
        inputs.single().writeFloat(values)
        model.run(inputs, outputs)
        return outputs.single().readFloat()
    }

    private fun options() =
        CompiledModel.Options(Accelerator.CPU).apply {
            cpuOptions = CompiledModel.CpuOptions(numThreads = THREADS, xnnPackFlags = XNNPACK_FLAGS)
        }

    private companion object {
        const val THREADS = 4
        val XNNPACK_FLAGS: Int? = @XNNPACK_FLAGS@
    }
}

fun openRunner(assets: AssetManager, name: String, @Suppress("UNUSED_PARAMETER") content: ByteArray): Runner =
    LiteRtRunner(assets, name)
