"""krait from Python, with nothing but ctypes: python3 krait.py CHECKPOINT PICTURE...

KRAIT_LIBRARY is the path of libkrait.so, if the system does not find it. With Pillow installed,
Model.classify takes an image of it too.
"""
import ctypes
import os
import sys

_lib = ctypes.CDLL(os.environ.get("KRAIT_LIBRARY", "libkrait.so"))
_floats = ctypes.POINTER(ctypes.c_float)
for _name, _result, _arguments in [
    ("krait_load", ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]),
    ("krait_free", None, [ctypes.c_void_p]),
    ("krait_class_count", ctypes.c_int, [ctypes.c_void_p]),
    ("krait_class_name", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int]),
    ("krait_input_size", ctypes.c_int, [ctypes.c_void_p]),
    ("krait_classify", ctypes.c_int, [ctypes.c_void_p] + 3 * [ctypes.c_size_t] + [ctypes.c_char_p, _floats]),
    ("krait_classify_file", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, _floats]),
    ("krait_last_error", ctypes.c_char_p, []),
]:
    _function = getattr(_lib, _name)
    _function.restype, _function.argtypes = _result, _arguments


def _error():
    return ValueError(_lib.krait_last_error().decode())


class Model:
    """A trained model. device: "cpu", "cuda", or None for a GPU if there is one."""

    def __init__(self, checkpoint, device=None):
        self._model = _lib.krait_load(os.fsencode(checkpoint), device and device.encode())
        if not self._model:
            raise _error()
        count = _lib.krait_class_count(self._model)
        self.class_names = [_lib.krait_class_name(self._model, c).decode() for c in range(count)]
        self.input_size = _lib.krait_input_size(self._model)

    def __del__(self):
        if getattr(self, "_model", None):
            _lib.krait_free(self._model)

    def classify_pixels(self, pixels, height, width):
        """pixels: bytes, (count, height, width, 3), RGB. A list of probabilities for each picture."""
        count, rest = divmod(len(pixels), height * width * 3)
        if count == 0 or rest:
            raise ValueError(f"{len(pixels)} bytes are no pictures of {width} x {height}")
        classes = len(self.class_names)
        p = (ctypes.c_float * (count * classes))()
        if _lib.krait_classify(self._model, count, height, width, pixels, p) != 0:
            raise _error()
        return [p[i * classes : (i + 1) * classes] for i in range(count)]

    def classify(self, picture):
        """A path, or an image of Pillow. A list of probabilities."""
        if hasattr(picture, "convert"):
            return self.classify_pixels(picture.convert("RGB").tobytes(), picture.height, picture.width)[0]
        p = (ctypes.c_float * len(self.class_names))()
        if _lib.krait_classify_file(self._model, os.fsencode(picture), p) != 0:
            raise _error()
        return list(p)


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: krait.py CHECKPOINT PICTURE...")
    model = Model(sys.argv[1])
    for path in sys.argv[2:]:
        p = model.classify(path)
        best = max(range(len(p)), key=p.__getitem__)
        print(f"{path}: {model.class_names[best]} {p[best]:.4f}")


if __name__ == "__main__":
    main()
