/* The module `horus_async._native`. */
#include "native.h"

PyTypeObject *add_type(PyObject *module, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return NULL;
    }
    return (PyTypeObject *)type; /* kept for good, like the module */
}

void free_plain(PyObject *self) { free_object(self); }

PyObject *call_method(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count) {
    PyObject *method = PyObject_GetAttrString(self, name), *result = NULL;
    PyObject *row = method == NULL ? NULL : PyTuple_New(count);
    if (row != NULL) {
        for (Py_ssize_t i = 0; i < count; i++) {
            Py_INCREF(args[i]);
            PyTuple_SetItem(row, i, args[i]);
        }
        result = PyObject_CallObject(method, row);
        Py_DECREF(row);
    }
    Py_XDECREF(method);
    return result;
}

PyObject *call_named(PyObject *self, PyObject *name, PyObject *one, PyObject *two, PyObject *three) {
    PyObject *method = PyObject_GetAttr(self, name);
    if (method == NULL) return NULL;
    PyObject *result = PyObject_CallFunctionObjArgs(method, one, two, three, NULL);
    Py_DECREF(method);
    return result;
}

PyObject *make_tuple(PyObject *type, PyObject **items, Py_ssize_t count) {
    PyObject *row = PyTuple_New(count), *arguments = NULL, *made = NULL;
    int whole = row != NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        whole = whole && items[i] != NULL;
        if (row == NULL) Py_XDECREF(items[i]);
        else PyTuple_SetItem(row, i, items[i]);
    }
    if (whole) arguments = PyTuple_Pack(1, row);
    if (arguments != NULL) {
        /* Past its own `__new__`, which is a function in Python. */
        newfunc new = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
        made = new((PyTypeObject *)type, arguments, NULL);
        Py_DECREF(arguments);
    }
    Py_XDECREF(row);
    return made;
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "horus_async._native",
    .m_doc = "The native core of horus-async: the same as the Python code, quicker. HORUS_NATIVE=0 does without.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && (add_ring(module) < 0 || add_codec(module) < 0 || add_packed(module) < 0 ||
                           add_topics(module) < 0 || add_state(module) < 0 || add_ports(module) < 0 ||
                           add_tick(module) < 0 || add_records(module) < 0 || add_lines(module) < 0 ||
                           add_box(module) < 0 || add_frames(module) < 0 || add_sent(module) < 0 ||
                           PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
