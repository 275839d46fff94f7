"""Which of MediaPipe's 478 landmarks is what. Left and right are those of the picture."""

N_LANDMARKS = 478

OVAL = (
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

UPPER_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""From the right corner of the mouth to the left one."""
LOWER_INNER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
INNER_LIPS = (*UPPER_INNER_LIP, *LOWER_INNER_LIP[-2:0:-1])
"""The edge of the mouth's opening, once around."""
LID_EDGES = tuple((upper, lower) for upper, lower, _ in EYES)
"""Upper and lower edge of the right and left eye."""
LID_FOLDS = ((247, 30, 29, 27, 28, 56, 190), (414, 286, 258, 257, 259, 260, 467))
"""Where the right and left upper lid folds: a point above each one of the lid's edge, without the corners."""
SKULL = (
    10,
    338,
    109,
    151,
    9,
    8,
    168,
    6,
    197,
    195,
    5,
    33,
    133,
    362,
    263,
    127,
    356,
    162,
    389,
    21,
    251,
    54,
    284,
)
"""Points that move with the head only: forehead, bridge of the nose, corners of the eyes, temples."""

UPPER_LID_SKIN = tuple(
    point for (upper, _), fold in zip(LID_EDGES, LID_FOLDS, strict=True) for point in (*upper[1:-1], *fold)
)
LOWER_LIP_SKIN = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    76, 96, 89, 179, 86, 15, 316, 403, 319, 325, 95, 88, 178, 87, 14, 317, 402, 318, 324,
)  # fmt: skip
UPPER_LIP_SKIN = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    183, 42, 41, 38, 12, 268, 271, 272, 407, 78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308,
)  # fmt: skip
