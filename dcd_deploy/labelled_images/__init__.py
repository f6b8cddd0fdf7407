"""Images with labels, from a folder or an .npz file, as the input of a model; all of it untrusted.

FOLDER/cat/1.jpg, FOLDER/dog/2.png   as torchvision's ImageFolder: class folders sorted by name are classes 0, 1, …
FOLDER/1.jpg                         without classes, which is enough to calibrate
FILE.npz                             images (N, C, H, W), float32 and normalised, or uint8; labels (N)

images = open_images("val")
check_classes(images, 1000)
for batch in batches(images, InputForm.of_card(card), 32):
    batch.values                     # (at most 32, C, H, W)
"""

from dcd_deploy.labelled_images.arrays import ImageArray
from dcd_deploy.labelled_images.batches import Batch, LabelledImages, batches, check_classes, open_images
from dcd_deploy.labelled_images.folder import ImageFolder
from dcd_deploy.labelled_images.form import InputForm

__all__ = [
    "Batch",
    "ImageArray",
    "ImageFolder",
    "InputForm",
    "LabelledImages",
    "batches",
    "check_classes",
    "open_images",
]
