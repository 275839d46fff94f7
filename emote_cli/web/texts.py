"""All that the page says of its own; errors, hints and warnings are the command's."""

TITLE = "emote"
SUBTITLE = "One portrait and one speech recording in, one talking-head video out."
CONSENT = (
    "Animate only people who agreed to it, or whose picture is free to be used so. "
    "Every video says in its own data that it is AI-generated."
)
PRIVATE = "Files stay on the machine that runs emote, and are deleted when this tab has been closed."

PORTRAIT = "Portrait"
PORTRAIT_ALT = "The portrait that will speak"
PORTRAIT_HELP = "A photo with a face from the front: drop a file, paste, or use the camera."
FACES = "Faces found: click the one that should speak"
FACES_ALT = "The portrait, with a number at every face"
FACE = "Face"
FACE_LARGEST = "{number} (the largest)"
SOUND = "Speech"
SOUND_HELP = "A recording or a video with sound, or the microphone; the scissors trim it."
EXAMPLE = "Try the example"

MODEL = "Model"
EXPRESSION = "Speed and expression"
MORE = "More options"
OWN = "the model's own"
FORECAST = "Forecast"
ANIMATE = "Animate"
STOP = "Stop"

STATUS = "Progress"
RESULT = "Result"
DOWNLOAD = "Download {name}"
COMMAND = "The same on the command line"
MAKING = "How it was made"
RECENT = "Earlier results of this visit"
RUN = "Run {name}"
MAKE = "Make a video"

NOTHING = "No video yet."
WAITING = "Waiting: {before} before this one."
STARTING = "Starting: loading the model, listening to the speech."
MAKING_FRAMES = "{done} of {total} frames, {rate:.1f} a second, {left} left"
MEASURING = "Measuring how long it will take, from the first frames."
DONE = "{total} frames, {seconds:.1f} s of video, made in {took}."
STOPPED = "Stopped. Nothing of it was kept."
STOPPING = "Stopping."
PLANNED = "{seconds:.1f} s of speech will be {frames} frames of {width} x {height}."
PLANNED_TIME = "That takes about {time}, as the video before did."
FRAME_ALT = "The newest frame"

NO_PORTRAIT = ("there is no portrait yet", "give a picture, or try the example")
NO_SOUND = ("there is no speech yet", "give a recording, or try the example")
TOO_LONG = (
    "the speech lasts {seconds:.0f} s; this page takes {limit:.0f} s",
    "trim it, or use emote animate",
)
TOO_LARGE = ("the file {name} has {megabytes:.0f} MB; this page takes {limit:.0f} MB", "give a smaller one")
BUSY = ("a video is being made in this tab", "wait for it, stop it, or open a second tab")
FULL = ("{count} videos are waiting", "try again in a few minutes")
BUG = ("something went wrong in emote: {error}", "please report it with what the terminal says")

LABELS = {
    "quality": "Quality",
    "head_speed": "Head speed",
    "articulation": "Articulation",
    "smoothing": "Smoothing",
    "idle": "Idle motion",
    "motion_region": "Motion region",
    "frame": "Frame",
    "size": "Size",
    "fps": "Frames per second",
    "start": "Start",
    "duration": "Duration",
    "seed": "Seed",
    "steps": "Steps",
    "guidance": "Guidance",
    "detail": "Detail",
    "separate_vocals": "Separate vocals",
    "low_memory": "Low memory",
    "device": "Device",
    "dtype": "Number format",
}
"""Of the options, by the names that the command gives them; what they do, the command says."""

REPORT = "Report"
CURVES = "Curves"
CURVES_ALT = "Curves of the training run: loss and speed over its steps"
SAMPLES = "Samples"
EMPTY_RUN = "There is no report, no curves.png and no sample in it yet."
