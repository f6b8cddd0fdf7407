package app.classifier

object R {
    object string {
@STRINGS@
    }
}
