package ai.onnxruntime

import java.nio.FloatBuffer

interface ValueInfo

class TensorInfo private constructor() : ValueInfo { val shape: LongArray get() = TODO() }

class NodeInfo private constructor() { val info: ValueInfo get() = TODO() }

interface OnnxValue : AutoCloseable

class OnnxTensor private constructor() : OnnxValue {
    val floatBuffer: FloatBuffer get() = TODO()
    override fun close(): Unit = TODO()
    companion object {
        @JvmStatic fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor = TODO()
    }
}

class OrtEnvironment private constructor() {
    fun createSession(model: ByteArray, options: OrtSession.SessionOptions): OrtSession = TODO()
    companion object { @JvmStatic fun getEnvironment(): OrtEnvironment = TODO() }
}

class OrtSession private constructor() : AutoCloseable {
    class SessionOptions
    class Result private constructor() : AutoCloseable {
        operator fun get(index: Int): OnnxValue = TODO()
        override fun close(): Unit = TODO()
    }
    val inputNames: Set<String> get() = TODO()
    val inputInfo: Map<String, NodeInfo> get() = TODO()
    fun run(inputs: Map<String, OnnxTensor>): Result = TODO()
    override fun close(): Unit = TODO()
}
