/* Values to payloads and back, as far as they are plain JSON or packed: `topics/codec/codec.py`, which has the rest. */
#include "native.h"

#include <math.h>

static PyObject *dumps, *loads;                   /* of orjson */
static PyObject *encode_slowly, *decode_slowly;   /* of the Python code */
static PyObject *readers;                         /* of packed messages, by mark */
static PyObject *general;                         /* the forms where nothing travels packed */
static PyObject *pack_bytes;                      /* of the Python code; done here */
static PyObject *failures;                        /* what the slower way reports, or can handle */

enum { DEPTH = 200, LEVELS = 250, MARK_BYTES = 8 }; /* LEVELS: see `topics/codec/plain.py` */

/* Messages that are `bytes`: `topics/packed/marks.py`. */
static const char RAW[MARK_BYTES + 1] = "\0$bytes\0";
enum { RAW_LIMIT = 1 << 15 };

/* Whether Python can be asked instead: there is no exception, or one that only says that this is not for us. */
static int is_for_python(void) {
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(failures)) return 0;
        PyErr_Clear();
    }
    return 1;
}

/* Whether a value consists of JSON's own types only and needs no tags. Runs no code but ours. */
static int is_plain(PyObject *value, int depth) {
    if (value == Py_None || PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value)) return 1;
    if (Py_IS_TYPE(value, &PyFloat_Type)) return isfinite(PyFloat_AsDouble(value));
    if (depth == DEPTH) return 0;
    if (PyDict_CheckExact(value)) {
        PyObject *key, *item;
        Py_ssize_t at = 0;
        while (PyDict_Next(value, &at, &key, &item)) {
            if (!PyUnicode_CheckExact(key) || !is_plain(item, depth + 1)) return 0;
            if (PyUnicode_GetLength(key) > 0 && PyUnicode_ReadChar(key, 0) == '$') return 0;
        }
        return 1;
    }
    if (!PyList_CheckExact(value)) return 0;
    Py_ssize_t length = PyList_Size(value);
    for (Py_ssize_t i = 0; i < length; i++) {
        if (!is_plain(PyList_GetItem(value, i), depth + 1)) return 0;
    }
    return 1;
}

/* The text of a plain value; NULL, perhaps without an exception, if it is none. */
static PyObject *plain_text(PyObject *value) {
    if (!is_plain(value, 0)) return NULL;
    return PyObject_CallFunctionObjArgs(dumps, value, NULL); /* fails with large integers and lone surrogates */
}

/* The packed message of plain bytes; NULL without an exception if they are too long for one. */
static PyObject *packed_bytes(PyObject *value) {
    Py_ssize_t length = PyBytes_Size(value);
    PyObject *payload = length > RAW_LIMIT ? NULL : PyBytes_FromStringAndSize(NULL, MARK_BYTES + length);
    if (payload != NULL) {
        char *start = PyBytes_AsString(payload);
        memcpy(start, RAW, MARK_BYTES);
        memcpy(start + MARK_BYTES, PyBytes_AsString(value), (size_t)length);
    }
    return payload;
}

/* How the objects of a class are packed: a new reference; the forms of a publisher find out about new ones. */
static PyObject *pack_of(PyObject *kind, PyObject *forms) {
    PyObject *pack = PyDict_Check(forms) ? PyDict_GetItemWithError(forms, kind) : NULL;
    if (pack == NULL) return PyErr_Occurred() ? NULL : PyObject_GetItem(forms, kind);
    Py_INCREF(pack);
    return pack;
}

/* The packed message of an object; NULL, perhaps with an exception, if it takes the general form. */
static PyObject *packed(PyObject *value, PyObject *forms) {
    PyObject *pack = pack_of((PyObject *)Py_TYPE(value), forms), *payload = NULL;
    if (pack == pack_bytes && PyBytes_CheckExact(value)) {
        payload = packed_bytes(value);
    } else if (pack != NULL && pack != Py_None) {
        payload = call_accessor(pack, value);
        if (payload == Py_None) Py_CLEAR(payload);
    }
    Py_XDECREF(pack);
    return payload;
}

PyObject *encode_value(PyObject *value, PyObject *forms) {
    PyObject *payload = plain_text(value);
    if (payload == NULL && !PyErr_Occurred() && !PyDict_CheckExact(value)) payload = packed(value, forms);
    if (payload != NULL || !is_for_python()) return payload;
    return PyObject_CallFunctionObjArgs(encode_slowly, value, forms, NULL);
}

static PyObject *encode(PyObject *Py_UNUSED(module), PyObject *args, PyObject *named) {
    static char *names[] = {"value", "forms", NULL};
    PyObject *value, *forms = general;
    return PyArg_ParseTupleAndKeywords(args, named, "O|O", names, &value, &forms) ? encode_value(value, forms) : NULL;
}

/* How often a byte is in a text, at most one more than LEVELS. */
static int count_of(char byte, const char *text, Py_ssize_t length) {
    const char *at = text, *end = text + length;
    int count = 0;
    while (count <= LEVELS && at < end && (at = memchr(at, byte, (size_t)(end - at))) != NULL) {
        count++;
        at++;
    }
    return count;
}

/* Whether JSON text is nested more than LEVELS deep. */
static int is_deep(const char *text, Py_ssize_t length) {
    int depth = 0, in_string = 0;
    if (length <= 2 * LEVELS || count_of('[', text, length) + count_of('{', text, length) <= LEVELS) return 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        char byte = text[i];
        if (in_string) {
            if (byte == '\\') i++;
            in_string = byte != '"';
        } else if (byte == '"') {
            in_string = 1;
        } else if (byte == '[' || byte == '{') {
            if (++depth > LEVELS) return 1;
        } else if (byte == ']' || byte == '}') {
            depth--;
        }
    }
    return 0;
}

/* Who read packed messages of late, by mark: spares making an object of the mark. */
static struct {
    uint64_t mark;
    PyObject *read;
} recent[64];

/* The object of a packed message; NULL, perhaps with an exception, if nobody here can read it. */
static PyObject *unpacked(PyObject *payload, const char *text) {
    uint64_t mark = get_u64((const unsigned char *)text);
    int place = (int)((mark * 0x9e3779b97f4a7c15u) >> 58);
    if (recent[place].mark != mark || recent[place].read == NULL) {
        PyObject *key = PyBytes_FromStringAndSize(text, MARK_BYTES);
        PyObject *read = key == NULL ? NULL : PyDict_GetItemWithError(readers, key);
        Py_XDECREF(key);
        if (read == NULL) return NULL;
        Py_INCREF(read);
        PyObject *before = recent[place].read;
        recent[place].mark = mark;
        recent[place].read = read;
        Py_XDECREF(before);
    }
    PyObject *read = recent[place].read;
    Py_INCREF(read); /* it may be replaced meanwhile */
    PyObject *value = call_accessor(read, payload);
    if (value == NULL && recent[place].read == read) { /* perhaps its class was defined anew */
        recent[place].read = NULL;
        Py_DECREF(read);
    }
    Py_DECREF(read);
    return value;
}

PyObject *decode_payload(PyObject *payload) {
    char *text;
    Py_ssize_t length;
    PyObject *value = NULL;
    if (PyBytes_CheckExact(payload) && PyBytes_AsStringAndSize(payload, &text, &length) == 0) {
        if (memchr(text, '$', (size_t)length) == NULL) {
            if (!is_deep(text, length)) value = PyObject_CallFunctionObjArgs(loads, payload, NULL);
        } else if (length >= MARK_BYTES && memcmp(text, RAW, MARK_BYTES) == 0) {
            value = PyBytes_FromStringAndSize(text + MARK_BYTES, length - MARK_BYTES);
        } else if (length >= MARK_BYTES) {
            value = unpacked(payload, text);
        }
    }
    if (value != NULL || !is_for_python()) return value;
    return PyObject_CallFunctionObjArgs(decode_slowly, payload, NULL);
}

static PyObject *decode(PyObject *Py_UNUSED(module), PyObject *payload) { return decode_payload(payload); }

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject **kept[] = {&dumps, &loads, &encode_slowly, &decode_slowly, &readers, &general, &pack_bytes, &failures};
    PyObject *given[8];
    if (!PyArg_ParseTuple(args, "OOOOOOOO", given, given + 1, given + 2, given + 3, given + 4, given + 5, given + 6,
                          given + 7))
        return NULL;
    for (int i = 0; i < 8; i++) assign_shared(kept[i], given[i]);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"encode", (PyCFunction)(void (*)(void))encode, METH_VARARGS | METH_KEYWORDS,
     "encode(value, forms)\n--\n\nSee `topics.codec.encode`."},
    {"decode", decode, METH_O, "decode(payload, /)\n--\n\nSee `topics.codec.decode`."},
    {"connect_codec", connect, METH_VARARGS,
     "connect_codec(dumps, loads, encode, decode, readers, general, pack_bytes, failures)\n--\n\nWhat `encode` and `decode` call."},
    {NULL},
};

int add_codec(PyObject *module) { return PyModule_AddFunctions(module, functions); }
