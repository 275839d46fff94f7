"""Which of MediaPipe's 478 landmarks is what. Left and right are those of the picture."""

N_LANDMARKS = 478

SILHOUETTE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The face's outline, clockwise from the middle of the forehead."""

JAW = (93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323)
"""Along the jaw, ear to ear."""

LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375)
"""Around the outer lips."""

UPPER_LIP, LOWER_LIP = 13, 14
"""In the middle of the lips' inner edges."""

NOSE_TIP = 1
NOSE, CHIN = 4, 152

CHEEKS = (205, 425, NOSE)
"""The cheeks' and the nose's foremost points: the eyes are above them."""

EYE_CORNERS = (33, 263)
"""The outer corners of both eyes."""

EYES = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133), (52, 65)),
    (
        (362, 398, 384, 385, 386, 387, 388, 466, 263),
        (362, 382, 381, 380, 374, 373, 390, 249, 263),
        (282, 295),
    ),
)
"""The left and the right eye: upper lid, lower lid, brow."""
