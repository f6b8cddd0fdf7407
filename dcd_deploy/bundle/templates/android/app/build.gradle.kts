plugins {
    id("com.android.application")
}

android {
    namespace = "app.classifier"
    compileSdk = 36

    defaultConfig {
        applicationId = "app.classifier"
        minSdk = 28 // ImageDecoder, which turns pictures as their camera says
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    androidResources {
        noCompress += listOf("tflite", "onnx", "ort") // mapped as they lie in the package
    }
}

dependencies {
    implementation("@DEPENDENCY@")
    implementation("androidx.activity:activity-ktx:1.10.1")
}
