package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { CPU }

class TensorBuffer internal constructor() {
    fun writeFloat(data: FloatArray): Unit = TODO()
    fun readFloat(): FloatArray = TODO()
}

class CompiledModel private constructor() {
    class CpuOptions(val numThreads: Int? = null, val xnnPackFlags: Int? = null, val xnnPackWeightCachePath: String? = null)

    class Options(vararg accelerators: Accelerator) { var cpuOptions: CpuOptions? = null }

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>): Unit = TODO()

    companion object {
        fun create(assetManager: AssetManager, assetName: String, options: Options): CompiledModel = TODO()
    }
}
