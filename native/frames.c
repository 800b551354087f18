/* `horus_async.frames.tree.chain`: the way from one frame to another at a time, where every edge holds it. */
#include "native.h"

#include <math.h>

/* The results are those of Python to the last bit: no multiplication may be fused with an addition. GCC does that by
 * -std=c11, and does not know this. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

typedef struct {
    double x, y, z, i, j, k, w;
} Motion;

static PyObject *name_fixed, *name_stamps, *name_samples, *name_start;

/* 1 if it is a row of seven floats. */
static int read_motion(PyObject *row, Motion *motion) {
    double *at = &motion->x;
    if (row == NULL || !PyTuple_Check(row) || PyTuple_Size(row) != 7) return 0;
    for (Py_ssize_t n = 0; n < 7; n++) {
        PyObject *number = PyTuple_GetItem(row, n);
        if (!PyFloat_CheckExact(number)) return 0;
        at[n] = PyFloat_AsDouble(number);
    }
    return 1;
}

/* These are `compose`, `inverse`, `between` and `normalised` of `horus_async.frames.rigid`. */

static Motion compose(const Motion *a, const Motion *b) {
    double x = 2.0 * (a->j * b->z - a->k * b->y);
    double y = 2.0 * (a->k * b->x - a->i * b->z);
    double z = 2.0 * (a->i * b->y - a->j * b->x);
    return (Motion){
        a->x + b->x + a->w * x + a->j * z - a->k * y,
        a->y + b->y + a->w * y + a->k * x - a->i * z,
        a->z + b->z + a->w * z + a->i * y - a->j * x,
        a->w * b->i + a->i * b->w + a->j * b->k - a->k * b->j,
        a->w * b->j - a->i * b->k + a->j * b->w + a->k * b->i,
        a->w * b->k + a->i * b->j - a->j * b->i + a->k * b->w,
        a->w * b->w - a->i * b->i - a->j * b->j - a->k * b->k,
    };
}

static Motion inverse(const Motion *a) {
    double u = 2.0 * (a->j * a->z - a->k * a->y);
    double v = 2.0 * (a->k * a->x - a->i * a->z);
    double t = 2.0 * (a->i * a->y - a->j * a->x);
    return (Motion){
        -(a->x - a->w * u + a->j * t - a->k * v),
        -(a->y - a->w * v + a->k * u - a->i * t),
        -(a->z - a->w * t + a->i * v - a->j * u),
        -a->i,
        -a->j,
        -a->k,
        a->w,
    };
}

static Motion between(const Motion *a, const Motion *b, double part) {
    double near = a->i * b->i + a->j * b->j + a->k * b->k + a->w * b->w, side = 1.0, of_a, of_b;
    if (near < 0.0) near = -near, side = -1.0;
    double rest = 1.0 - part;
    if (near < 1.0 - 1e-14) {
        double angle = acos(near), whole = sin(angle);
        of_a = sin(rest * angle) / whole, of_b = sin(part * angle) / whole * side;
    } else {
        of_a = rest, of_b = part * side;
    }
    return (Motion){
        rest * a->x + part * b->x,       rest * a->y + part * b->y,       rest * a->z + part * b->z,
        of_a * a->i + of_b * b->i,       of_a * a->j + of_b * b->j,       of_a * a->k + of_b * b->k,
        of_a * a->w + of_b * b->w,
    };
}

static PyObject *as_row(const Motion *a) {
    double length = sqrt(a->i * a->i + a->j * a->j + a->k * a->k + a->w * a->w);
    double numbers[7] = {a->x, a->y, a->z, a->i / length, a->j / length, a->k / length, a->w / length};
    PyObject *row = PyTuple_New(7);
    for (Py_ssize_t n = 0; row != NULL && n < 7; n++) {
        PyObject *number = PyFloat_FromDouble(numbers[n]);
        if (number == NULL) Py_CLEAR(row);
        else PyTuple_SetItem(row, n, number);
    }
    return row;
}

/* A stamp; -1 with an exception if it is none. No code of Python's runs: they are plain integers. */
static int64_t stamp_at(PyObject *stamps, Py_ssize_t at) { return PyLong_AsLongLong(PyList_GetItem(stamps, at)); }

/* Where an edge was, from its lists; 0 if Python has to say so, or what is wrong. */
static int sampled(PyObject *stamps, PyObject *samples, Py_ssize_t start, int64_t ns, Motion *motion) {
    Py_ssize_t end = PyList_Size(stamps), low = start, high = end;
    if (start < 0 || start >= end || PyList_Size(samples) != end) return 0;
    while (low < high) {
        Py_ssize_t middle = (low + high) / 2;
        if (stamp_at(stamps, middle) < ns) low = middle + 1;
        else high = middle;
    }
    if (low == end || PyErr_Occurred()) return 0;
    int64_t later = stamp_at(stamps, low);
    if (later == ns) return read_motion(PyList_GetItem(samples, low), motion);
    if (low == start) return 0;
    int64_t earlier = stamp_at(stamps, low - 1), whole = later - earlier;
    if (whole <= 0 || whole >> 53) return 0; /* both would be rounded before they are divided */
    Motion a, b;
    if (!read_motion(PyList_GetItem(samples, low - 1), &a) || !read_motion(PyList_GetItem(samples, low), &b)) return 0;
    *motion = between(&a, &b, (double)(ns - earlier) / (double)whole);
    return 1;
}

static int place(PyObject *edge, int64_t ns, Motion *motion) {
    PyObject *fixed = PyObject_GetAttr(edge, name_fixed);
    int found = 0;
    if (fixed == NULL) return 0;
    if (fixed != Py_None) {
        found = read_motion(fixed, motion);
    } else {
        PyObject *stamps = PyObject_GetAttr(edge, name_stamps), *samples = PyObject_GetAttr(edge, name_samples);
        PyObject *start = PyObject_GetAttr(edge, name_start);
        if (start != NULL && stamps != NULL && samples != NULL && PyList_Check(stamps) && PyList_Check(samples)) {
            found = sampled(stamps, samples, PyLong_AsSsize_t(start), ns, motion);
        }
        Py_XDECREF(start);
        Py_XDECREF(samples);
        Py_XDECREF(stamps);
    }
    Py_DECREF(fixed);
    return found;
}

/* The edges of one side, from its lower end upwards. */
static int climb(PyObject *edges, int64_t ns, Motion *whole) {
    Py_ssize_t count = PyTuple_Size(edges);
    for (Py_ssize_t n = 0; n < count; n++) {
        Motion motion;
        if (!place(PyTuple_GetItem(edges, n), ns, &motion)) return 0;
        *whole = n == 0 ? motion : compose(&motion, whole);
    }
    return 1;
}

/* chain(up, down, ns): the motion; None if Python has to find it, or say why there is none. */
static PyObject *chain(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    Motion there, back;
    if (count != 3 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "chain(up, down, ns)");
        return NULL;
    }
    int64_t ns = PyLong_AsLongLong(args[2]);
    Py_ssize_t up = PyTuple_Size(args[0]), down = PyTuple_Size(args[1]);
    if (PyErr_Occurred() || up + down == 0 || !climb(args[0], ns, &there) || !climb(args[1], ns, &back) ||
        PyErr_Occurred()) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (down > 0) {
        back = inverse(&back);
        there = up == 0 ? back : compose(&back, &there);
    }
    return as_row(&there);
}

static PyMethodDef functions[] = {
    {"chain", (PyCFunction)(void (*)(void))chain, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

int add_frames(PyObject *module) {
    name_fixed = PyUnicode_InternFromString("fixed");
    name_stamps = PyUnicode_InternFromString("_stamps");
    name_samples = PyUnicode_InternFromString("_samples");
    name_start = PyUnicode_InternFromString("_start");
    if (name_fixed == NULL || name_stamps == NULL || name_samples == NULL || name_start == NULL) return -1;
    return PyModule_AddFunctions(module, functions);
}
