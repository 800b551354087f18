/* Records of the fields of a parsed line: what `recorder/records.py` has cattrs make, where each field is as it should be.
 * Of all else cattrs says what is wrong. */
#include "native.h"

enum Form { ANY, WHOLE, TEXT, TRUTH, FORMS };

typedef struct {
    PyObject *name;
    PyObject *otherwise; /* what it is if it is not there; NULL if it has to be */
    PyObject *slot;      /* the descriptor by which it is set */
    descrsetfunc set;
    PyObject *items; /* of a tuple: the Maker of its items, or None if they are texts; else NULL */
    char form, optional, fixed;
} Field;

typedef struct {
    PyObject_HEAD
    PyTypeObject *kind;
    Py_ssize_t count;
    Field *fields;
} Maker;

static PyTypeObject *maker_type;

static PyObject *make(Maker *self, PyObject *fields);

static int is_right(const Field *field, PyObject *value) {
    if (field->optional && value == Py_None) return 1;
    switch (field->form) {
        case WHOLE: return PyLong_CheckExact(value);
        case TEXT: return PyUnicode_CheckExact(value);
        case TRUTH: return PyBool_Check(value);
        default: return 1;
    }
}

/* A tuple of the items of a list (a new reference); NULL, perhaps without an exception, if one is not as it should be. */
static PyObject *tuple_of(PyObject *list, PyObject *items) {
    if (!PyList_CheckExact(list)) return NULL;
    Py_ssize_t count = PyList_Size(list);
    PyObject *made = PyTuple_New(count);
    for (Py_ssize_t i = 0; made != NULL && i < count; i++) {
        PyObject *item = PyList_GetItem(list, i);
        if (items != Py_None) {
            item = make((Maker *)items, item);
        } else if (PyUnicode_CheckExact(item)) {
            Py_INCREF(item);
        } else {
            item = NULL;
        }
        if (item == NULL) Py_CLEAR(made);
        else PyTuple_SetItem(made, i, item);
    }
    return made;
}

/* What a field is to be (a new reference); NULL, perhaps without an exception, if that is not as it should be. */
static PyObject *value_of(const Field *field, PyObject *fields) {
    PyObject *value = field->fixed ? NULL : PyDict_GetItemWithError(fields, field->name);
    if (value == NULL) {
        if (PyErr_Occurred()) return NULL;
        Py_XINCREF(field->otherwise);
        return field->otherwise;
    }
    if (field->items != NULL) return tuple_of(value, field->items);
    if (!is_right(field, value)) return NULL;
    Py_INCREF(value);
    return value;
}

/* A record of these fields; NULL, perhaps without an exception, if one is not as it should be. */
static PyObject *make(Maker *self, PyObject *fields) {
    if (!PyDict_CheckExact(fields)) return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(self->kind, Py_tp_alloc);
    PyObject *record = allocate(self->kind, 0);
    for (Py_ssize_t i = 0; record != NULL && i < self->count; i++) {
        const Field *field = self->fields + i;
        PyObject *value = value_of(field, fields);
        if (value == NULL || field->set(field->slot, record, value) < 0) Py_CLEAR(record);
        Py_XDECREF(value);
    }
    return record;
}

static PyObject *maker_call(Maker *self, PyObject *args, PyObject *named) {
    PyObject *fields;
    static char *known[] = {"fields", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, named, "O", known, &fields)) return NULL;
    PyObject *record = make(self, fields);
    if (record != NULL || PyErr_Occurred()) return record;
    Py_RETURN_NONE;
}

static int read_field(Field *field, PyObject *row) {
    PyObject *name, *slot, *items, *otherwise;
    int form, optional, fixed;
    if (!PyArg_ParseTuple(row, "UOippOO", &name, &slot, &form, &optional, &fixed, &items, &otherwise)) return -1;
    field->set = (descrsetfunc)PyType_GetSlot(Py_TYPE(slot), Py_tp_descr_set);
    int none = items == Py_None, many = items != Py_None && !PyLong_Check(items);
    if (field->set == NULL || form < 0 || form >= FORMS || (many && !PyObject_TypeCheck(items, maker_type)) ||
        !PyTuple_Check(otherwise) || PyTuple_Size(otherwise) > 1) {
        PyErr_SetString(PyExc_TypeError, "not a field");
        return -1;
    }
    field->form = (char)form;
    field->optional = (char)optional;
    field->fixed = (char)fixed;
    field->otherwise = PyTuple_Size(otherwise) ? PyTuple_GetItem(otherwise, 0) : NULL;
    field->name = name;
    field->slot = slot;
    field->items = none || many ? items : NULL;
    Py_INCREF(name);
    Py_INCREF(slot);
    Py_XINCREF(field->otherwise);
    Py_XINCREF(field->items);
    return 0;
}

static int maker_clear(Maker *self) {
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_CLEAR(self->fields[i].name);
        Py_CLEAR(self->fields[i].slot);
        Py_CLEAR(self->fields[i].otherwise);
        Py_CLEAR(self->fields[i].items);
    }
    self->count = 0;
    Py_CLEAR(self->kind);
    return 0;
}

static PyObject *maker_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    PyObject *kind, *rows;
    static char *known[] = {"kind", "fields", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!O!", known, &PyType_Type, &kind, &PyTuple_Type, &rows)) return NULL;
    Py_ssize_t count = PyTuple_Size(rows);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Maker *self = (Maker *)allocate(type, 0);
    if (self == NULL) return NULL;
    Py_INCREF(kind);
    self->kind = (PyTypeObject *)kind;
    self->fields = PyMem_Calloc((size_t)count + 1, sizeof(Field));
    if (self->fields == NULL) PyErr_NoMemory();
    while (self->fields != NULL && self->count < count && read_field(self->fields + self->count, PyTuple_GetItem(rows, self->count)) == 0)
        self->count++;
    if (self->fields == NULL || self->count < count) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static int maker_traverse(Maker *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT((PyObject *)self->kind);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_VISIT(self->fields[i].slot);
        Py_VISIT(self->fields[i].otherwise);
        Py_VISIT(self->fields[i].items);
    }
    return 0;
}

static void maker_dealloc(Maker *self) {
    PyObject_GC_UnTrack(self);
    maker_clear(self);
    PyMem_Free(self->fields);
    free_object(self);
}

static PyType_Slot maker_slots[] = {
    {Py_tp_doc, "RecordMaker(kind, fields)\n--\n\nMakes records of one class of dicts; None of those that are not as they "
                "should be."},
    {Py_tp_new, maker_new},
    {Py_tp_call, maker_call},
    {Py_tp_traverse, maker_traverse},
    {Py_tp_clear, maker_clear},
    {Py_tp_dealloc, maker_dealloc},
    {0, NULL},
};

static PyType_Spec maker_spec = {"horus_async._native.RecordMaker", sizeof(Maker), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                 maker_slots};

int add_records(PyObject *module) {
    maker_type = add_type(module, &maker_spec);
    return maker_type == NULL ? -1 : 0;
}
