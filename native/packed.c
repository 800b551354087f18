/* Packing and reading the objects of a class: `topics/packed/accessors.py`; `topics/packed/packed.py` has the form. */
#include "native.h"

enum { MARK_BYTES = 8 };

typedef enum { FLOAT, INT, BOOL, STR, STRINGS, NUMBERS, ROW, STRUCT, ENUM, FLAG } Type;

static const char *const leaf_names[] = {"float", "int", "bool", "str", "strings", "numbers"};
static const uint64_t leaf_sizes[] = {8, 8, 1, 4, 4, 5, 0, 0, 8, 8}; /* in the part with a fixed length */

/* A part of a class's schema. */
typedef struct Part {
    Type type;
    Py_ssize_t count; /* of the parts inside */
    struct Part *parts;
    PyObject *name;       /* of the field */
    PyObject *descriptor; /* of a field that lies in a slot; else NULL */
    descrgetfunc get;     /* of the descriptor */
    descrsetfunc set;
    PyTypeObject *kind; /* of STRUCT, ENUM, FLAG */
    newfunc make;       /* of STRUCT */
    int has_dict;       /* its objects may have attributes that are no fields */
    PyObject *members;  /* of ENUM, by value */
} Part;

typedef struct {
    PyObject_HEAD
    PyObject *mark;
    Part whole;
    uint64_t fixed;   /* bytes of mark and fixed part */
    PyObject *places; /* of the classes: rows of module, names on the way, class */
    PyObject *helpers;
} Accessors;

/* What `helpers` holds. */
enum { MODULES, PACK_NUMBERS, READ_NUMBERS, PACK_STRINGS, READ_STRINGS, MAKE_FLAG, FAILURES, MEMBER_TYPE, HELPERS };

static PyObject *empty, *value_name; /* (), "_value_" */

static PyObject *helper(Accessors *self, int number) { return PyTuple_GetItem(self->helpers, number); }

/* ---- The parts, from a description ---- */

static int make_part(Accessors *self, Part *part, PyObject *spec);

static int make_parts(Accessors *self, Part *part, PyObject *specs) {
    Py_ssize_t count = PyTuple_Size(specs);
    if (count < 0) return -1;
    part->parts = PyMem_Calloc((size_t)count + 1, sizeof(Part));
    if (part->parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++, part->count++) {
        PyObject *inner = PyTuple_GetItem(specs, i);
        Part *made = part->parts + i;
        if (part->type == STRUCT) {
            if (!PyArg_ParseTuple(inner, "UO", &made->name, &inner)) return -1;
            Py_INCREF(made->name);
            PyUnicode_InternInPlace(&made->name);
        }
        if (make_part(self, made, inner) < 0) return -1;
    }
    return 0;
}

/* Where a field lies in a slot, its descriptor is asked without looking it up. */
static int find_slots(Accessors *self, Part *part) {
    if (PyType_GetSlot(part->kind, Py_tp_getattro) != (void *)PyObject_GenericGetAttr) return 0;
    for (Py_ssize_t i = 0; i < part->count; i++) {
        Part *field = part->parts + i;
        PyObject *found = PyObject_GetAttr((PyObject *)part->kind, field->name);
        if (found == NULL) {
            PyErr_Clear(); /* an attribute of the object alone */
        } else if ((PyObject *)Py_TYPE(found) == helper(self, MEMBER_TYPE)) {
            field->descriptor = found;
            field->get = (descrgetfunc)PyType_GetSlot(Py_TYPE(found), Py_tp_descr_get);
            field->set = (descrsetfunc)PyType_GetSlot(Py_TYPE(found), Py_tp_descr_set);
        } else {
            Py_DECREF(found);
        }
    }
    return 0;
}

static int make_class(Accessors *self, Part *part, const char *what, PyObject *content) {
    if (strcmp(what, "struct") == 0) {
        part->type = STRUCT;
        part->make = (newfunc)PyType_GetSlot(part->kind, Py_tp_new);
        PyObject *offset = PyObject_GetAttrString((PyObject *)part->kind, "__dictoffset__");
        if (offset == NULL) return -1;
        part->has_dict = PyObject_IsTrue(offset);
        Py_DECREF(offset);
        return make_parts(self, part, content) < 0 ? -1 : find_slots(self, part);
    }
    part->type = strcmp(what, "enum") == 0 ? ENUM : FLAG;
    if (part->type == ENUM) {
        Py_INCREF(content);
        part->members = content;
    }
    self->fixed += leaf_sizes[part->type];
    return 0;
}

static int make_part(Accessors *self, Part *part, PyObject *spec) {
    if (PyUnicode_Check(spec)) {
        for (part->type = FLOAT; part->type <= NUMBERS; part->type++) {
            if (PyUnicode_CompareWithASCIIString(spec, leaf_names[part->type]) == 0) {
                self->fixed += leaf_sizes[part->type];
                return 0;
            }
        }
    }
    PyObject *what, *kind, *content;
    if (!PyTuple_Check(spec)) {
        PyErr_Format(PyExc_ValueError, "not a part of a schema: %R", spec);
        return -1;
    }
    if (!PyArg_ParseTuple(spec, "UOO", &what, &kind, &content)) return -1;
    const char *name = PyUnicode_AsUTF8AndSize(what, NULL);
    if (name == NULL) return -1;
    if (strcmp(name, "row") == 0) {
        part->type = ROW;
        return make_parts(self, part, content);
    }
    if (!PyType_Check(kind)) {
        PyErr_Format(PyExc_ValueError, "not a class: %R", kind);
        return -1;
    }
    Py_INCREF(kind);
    part->kind = (PyTypeObject *)kind;
    return make_class(self, part, name, content);
}

static void free_part(Part *part) {
    for (Py_ssize_t i = 0; part->parts != NULL && i <= part->count; i++) free_part(part->parts + i);
    PyMem_Free(part->parts);
    Py_CLEAR(part->name);
    Py_CLEAR(part->descriptor);
    Py_CLEAR(part->members);
    PyObject *kind = (PyObject *)part->kind;
    Py_XDECREF(kind);
    *part = (Part){0};
}

/* ---- Packing ---- */

/* A message on its way: the fixed part, and the tails behind it. */
typedef struct {
    unsigned char *bytes;
    uint64_t room, at, end; /* of the next place in the fixed part, and of the tails */
    unsigned char on_stack[1024];
} Message;

static int make_room(Message *message, uint64_t more) {
    if (message->end + more <= message->room) return 0;
    uint64_t room = 2 * (message->end + more);
    unsigned char *larger =
        PyMem_Realloc(message->bytes == message->on_stack ? NULL : message->bytes, (size_t)room);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (message->bytes == message->on_stack) memcpy(larger, message->on_stack, (size_t)message->end);
    message->bytes = larger;
    message->room = room;
    return 0;
}

static int add_tail(Message *message, const char *data, uint64_t length) {
    if (make_room(message, length) < 0) return -1;
    memcpy(message->bytes + message->end, data, (size_t)length);
    message->end += length;
    return 0;
}

static void put_number(Message *message, uint64_t number) {
    put_u64(message->bytes + message->at, number);
    message->at += 8;
}

static uint64_t float_bits(PyObject *number) {
    double value = PyFloat_AsDouble(number);
    uint64_t bits;
    if (value != value) return 0x7ff8000000000000u; /* as it would come out of the general form */
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static int put_integer(Message *message, PyObject *number) {
    long long value = PyLong_AsLongLong(number);
    if (value == -1 && PyErr_Occurred()) return -1; /* OverflowError is one of the failures */
    put_number(message, (uint64_t)value);
    return 0;
}

static int put_tail(Message *message, const char *data, Py_ssize_t length) {
    if (data == NULL || (uint64_t)length > UINT32_MAX) return -1;
    put_u32(message->bytes + message->at, (uint32_t)length);
    message->at += 4;
    return add_tail(message, data, (uint64_t)length);
}

static int put_row_head(Message *message, long kind, uint64_t length) {
    if (length > UINT32_MAX || kind < 0 || kind > UINT8_MAX) return -1;
    message->bytes[message->at] = (unsigned char)kind;
    put_u32(message->bytes + message->at + 1, (uint32_t)length);
    message->at += 5;
    return 0;
}

static int put_array(Accessors *self, Message *message, PyObject *row) {
    PyObject *made = PyObject_CallFunctionObjArgs(helper(self, PACK_NUMBERS), row, NULL), *data;
    long kind;
    unsigned long long length;
    int done = -1;
    if (made != NULL && PyArg_ParseTuple(made, "lKS", &kind, &length, &data)) {
        done = put_row_head(message, kind, length);
        if (done == 0) done = add_tail(message, PyBytes_AsString(data), (uint64_t)PyBytes_Size(data));
    }
    Py_XDECREF(made);
    return done;
}

static int put_numbers(Accessors *self, Message *message, PyObject *row) {
    int is_list = PyList_CheckExact(row);
    if (!is_list && !PyTuple_CheckExact(row)) return put_array(self, message, row);
    PyObject *(*item)(PyObject *, Py_ssize_t) = is_list ? PyList_GetItem : PyTuple_GetItem;
    Py_ssize_t length = PyObject_Size(row);
    int integers = length > 0 && PyLong_CheckExact(item(row, 0));
    if (put_row_head(message, (is_list ? 0 : 2) + integers, (uint64_t)length) < 0 ||
        make_room(message, 8 * (uint64_t)length) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < length; i++, message->end += 8) {
        PyObject *number = item(row, i);
        if (integers) {
            long long value = PyLong_CheckExact(number) ? PyLong_AsLongLong(number) : -1;
            if (value == -1 && (PyErr_Occurred() || !PyLong_CheckExact(number))) return -1;
            put_u64(message->bytes + message->end, (uint64_t)value);
        } else {
            if (!Py_IS_TYPE(number, &PyFloat_Type)) return -1;
            put_u64(message->bytes + message->end, float_bits(number));
        }
    }
    return 0;
}

static int put_strings(Accessors *self, Message *message, PyObject *row) {
    PyObject *text = PyObject_CallFunctionObjArgs(helper(self, PACK_STRINGS), row, NULL);
    int done = text == NULL ? -1 : put_tail(message, PyBytes_AsString(text), PyBytes_Size(text));
    Py_XDECREF(text);
    return done;
}

static int put(Accessors *self, const Part *part, Message *message, PyObject *value);

static int put_struct(Accessors *self, const Part *part, Message *message, PyObject *value) {
    if (part->has_dict) {
        PyObject *attributes = PyObject_GenericGetDict(value, NULL);
        Py_ssize_t count = attributes == NULL ? -1 : PyDict_Size(attributes);
        Py_XDECREF(attributes);
        if (count != part->count) return -1;
    }
    for (Py_ssize_t i = 0; i < part->count; i++) {
        const Part *field = part->parts + i;
        PyObject *found = field->descriptor == NULL ? PyObject_GetAttr(value, field->name)
                                                    : field->get(field->descriptor, value, (PyObject *)part->kind);
        int done = found == NULL ? -1 : put(self, field, message, found);
        Py_XDECREF(found);
        if (done < 0) return -1;
    }
    return 0;
}

static int put_row(Accessors *self, const Part *part, Message *message, PyObject *value) {
    if (!PyTuple_CheckExact(value) || PyTuple_Size(value) != part->count) return -1;
    for (Py_ssize_t i = 0; i < part->count; i++) {
        if (put(self, part->parts + i, message, PyTuple_GetItem(value, i)) < 0) return -1;
    }
    return 0;
}

static int put_choice(const Part *part, Message *message, PyObject *value) {
    PyObject *number = PyObject_GetAttr(value, value_name);
    int done = number == NULL ? -1 : put_integer(message, number);
    Py_XDECREF(number);
    return done;
}

/* Adds a value to a message; -1, perhaps with an exception, if it takes the general form. */
static int put(Accessors *self, const Part *part, Message *message, PyObject *value) {
    const char *text;
    Py_ssize_t length;
    switch (part->type) {
    case FLOAT:
        if (!Py_IS_TYPE(value, &PyFloat_Type)) return -1;
        put_number(message, float_bits(value));
        return 0;
    case INT:
        return PyLong_CheckExact(value) ? put_integer(message, value) : -1;
    case BOOL:
        if (!PyBool_Check(value)) return -1;
        message->bytes[message->at++] = value == Py_True;
        return 0;
    case STR:
        if (!PyUnicode_CheckExact(value)) return -1;
        text = PyUnicode_AsUTF8AndSize(value, &length);
        return put_tail(message, text, length);
    case STRINGS:
        return put_strings(self, message, value);
    case NUMBERS:
        return put_numbers(self, message, value);
    case ROW:
        return put_row(self, part, message, value);
    case STRUCT:
        return Py_IS_TYPE(value, part->kind) ? put_struct(self, part, message, value) : -1;
    default:
        return Py_IS_TYPE(value, part->kind) ? put_choice(part, message, value) : -1;
    }
}

static PyObject *accessors_pack(Accessors *self, PyObject *value) {
    Message message;
    message.bytes = message.on_stack;
    message.room = sizeof message.on_stack;
    message.at = message.end = 0;
    PyObject *packed = NULL;
    if (make_room(&message, self->fixed) == 0) {
        message.end = self->fixed;
        memcpy(message.bytes, PyBytes_AsString(self->mark), MARK_BYTES);
        message.at = MARK_BYTES;
        if (put(self, &self->whole, &message, value) == 0)
            packed = PyBytes_FromStringAndSize((const char *)message.bytes, (Py_ssize_t)message.end);
    }
    if (message.bytes != message.on_stack) PyMem_Free(message.bytes);
    if (packed == NULL && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(helper(self, FAILURES))) return NULL;
        PyErr_Clear();
    }
    if (packed == NULL) Py_RETURN_NONE;
    return packed;
}

/* ---- Reading ---- */

/* A message that is being read. */
typedef struct {
    PyObject *payload;
    const unsigned char *bytes;
    uint64_t length, at, end; /* `at`: the next place in the fixed part; `end`: the next tail */
} Source;

static PyObject *damaged(void) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a damaged message");
    return NULL;
}

static uint64_t next_number(Source *source) {
    source->at += 8;
    return get_u64(source->bytes + source->at - 8);
}

/* The next tail, whose length stands in the fixed part; NULL if there is not so much. */
static const char *next_tail(Source *source, uint32_t *length) {
    const char *tail = (const char *)source->bytes + source->end;
    *length = get_u32(source->bytes + source->at);
    source->at += 4;
    if (*length > source->length - source->end) return NULL;
    source->end += *length;
    return tail;
}

static PyObject *next_float(const unsigned char *at) {
    double value;
    memcpy(&value, at, sizeof value);
    return PyFloat_FromDouble(value);
}

static PyObject *read_array(Accessors *self, Source *source, int kind, uint32_t length) {
    PyObject *row = NULL;
    unsigned long long end;
    PyObject *found = PyObject_CallFunction(helper(self, READ_NUMBERS), "OKiI", source->payload,
                                            (unsigned long long)source->end, kind, (unsigned int)length);
    if (found != NULL && PyArg_ParseTuple(found, "OK", &row, &end)) {
        Py_INCREF(row);
        source->end = end;
    }
    Py_XDECREF(found);
    return row;
}

static PyObject *read_numbers(Accessors *self, Source *source) {
    int kind = source->bytes[source->at];
    uint32_t length = get_u32(source->bytes + source->at + 1);
    source->at += 5;
    if (kind > 3) return read_array(self, source, kind, length);
    if (8 * (uint64_t)length > source->length - source->end) return damaged();
    int is_list = kind < 2;
    PyObject *row = is_list ? PyList_New(length) : PyTuple_New(length);
    int (*set_item)(PyObject *, Py_ssize_t, PyObject *) = is_list ? PyList_SetItem : PyTuple_SetItem;
    for (uint32_t i = 0; row != NULL && i < length; i++, source->end += 8) {
        const unsigned char *at = source->bytes + source->end;
        PyObject *number = kind & 1 ? PyLong_FromLongLong((int64_t)get_u64(at)) : next_float(at);
        if (number == NULL || set_item(row, i, number) < 0) Py_CLEAR(row);
    }
    return row;
}

static PyObject *read_strings(Accessors *self, Source *source) {
    uint32_t length;
    const char *tail = next_tail(source, &length);
    PyObject *text = tail == NULL ? damaged() : PyBytes_FromStringAndSize(tail, length);
    PyObject *row = text == NULL ? NULL : PyObject_CallFunctionObjArgs(helper(self, READ_STRINGS), text, NULL);
    Py_XDECREF(text);
    return row;
}

static PyObject *read_choice(Accessors *self, const Part *part, Source *source) {
    PyObject *number = PyLong_FromLongLong((int64_t)next_number(source)), *found = NULL;
    if (number == NULL) return NULL;
    if (part->type == FLAG) {
        found = PyObject_CallFunctionObjArgs(helper(self, MAKE_FLAG), (PyObject *)part->kind, number, NULL);
    } else {
        found = PyDict_GetItemWithError(part->members, number);
        Py_XINCREF(found);
        if (found == NULL) damaged();
    }
    Py_DECREF(number);
    return found;
}

static PyObject *read_part(Accessors *self, const Part *part, Source *source);

static PyObject *read_struct(Accessors *self, const Part *part, Source *source) {
    PyObject *made = part->make(part->kind, empty, NULL);
    for (Py_ssize_t i = 0; made != NULL && i < part->count; i++) {
        const Part *field = part->parts + i;
        PyObject *value = read_part(self, field, source);
        int done = -1;
        if (value != NULL)
            done = field->descriptor == NULL ? PyObject_GenericSetAttr(made, field->name, value)
                                             : field->set(field->descriptor, made, value);
        Py_XDECREF(value);
        if (done < 0) Py_CLEAR(made);
    }
    return made;
}

static PyObject *read_row(Accessors *self, const Part *part, Source *source) {
    PyObject *row = PyTuple_New(part->count);
    for (Py_ssize_t i = 0; row != NULL && i < part->count; i++) {
        PyObject *value = read_part(self, part->parts + i, source);
        if (value == NULL || PyTuple_SetItem(row, i, value) < 0) Py_CLEAR(row);
    }
    return row;
}

static PyObject *read_part(Accessors *self, const Part *part, Source *source) {
    uint32_t length;
    const char *tail;
    switch (part->type) {
    case FLOAT:
        source->at += 8;
        return next_float(source->bytes + source->at - 8);
    case INT:
        return PyLong_FromLongLong((int64_t)next_number(source));
    case BOOL:
        return PyBool_FromLong(source->bytes[source->at++]);
    case STR:
        tail = next_tail(source, &length);
        return tail == NULL ? damaged() : PyUnicode_DecodeUTF8(tail, length, NULL);
    case STRINGS:
        return read_strings(self, source);
    case NUMBERS:
        return read_numbers(self, source);
    case ROW:
        return read_row(self, part, source);
    case STRUCT:
        return read_struct(self, part, source);
    default:
        return read_choice(self, part, source);
    }
}

/* Whether the program's modules still have the classes, which may have been defined anew. */
static int are_in_place(Accessors *self) {
    Py_ssize_t count = PyTuple_Size(self->places);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *row = PyTuple_GetItem(self->places, i), *names = PyTuple_GetItem(row, 1);
        PyObject *found = PyDict_GetItemWithError(helper(self, MODULES), PyTuple_GetItem(row, 0));
        Py_ssize_t first = 0;
        if (found != NULL && PyModule_Check(found)) { /* quicker than asking it for an attribute */
            found = PyDict_GetItemWithError(PyModule_GetDict(found), PyTuple_GetItem(names, 0));
            first = 1;
        }
        Py_XINCREF(found);
        for (Py_ssize_t j = first; found != NULL && j < PyTuple_Size(names); j++) {
            PyObject *inner = PyObject_GetAttr(found, PyTuple_GetItem(names, j));
            Py_DECREF(found);
            found = inner;
        }
        Py_XDECREF(found);
        if (found != PyTuple_GetItem(row, 2)) return 0;
    }
    return 1;
}

static PyObject *accessors_read(Accessors *self, PyObject *payload) {
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(payload, &bytes, &length) < 0) return NULL;
    if (!are_in_place(self) || (uint64_t)length < self->fixed) return damaged();
    Source source = {payload, (const unsigned char *)bytes, (uint64_t)length, MARK_BYTES, self->fixed};
    PyObject *value = read_part(self, &self->whole, &source);
    if (value != NULL && source.end != source.length) {
        Py_DECREF(value);
        return damaged();
    }
    return value;
}

PyObject *call_accessor(PyObject *function, PyObject *argument) {
    if (PyCFunction_CheckExact(function)) {
        PyCFunction code = PyCFunction_GetFunction(function);
        if (code == (PyCFunction)accessors_pack || code == (PyCFunction)accessors_read)
            return code(PyCFunction_GetSelf(function), argument);
    }
    return PyObject_CallFunctionObjArgs(function, argument, NULL);
}

/* ---- The type ---- */

static PyObject *accessors_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named)) {
    PyObject *mark, *spec, *places, *helpers;
    if (!PyArg_ParseTuple(args, "SOO!O!", &mark, &spec, &PyTuple_Type, &places, &PyTuple_Type, &helpers)) return NULL;
    if (PyBytes_Size(mark) != MARK_BYTES || PyTuple_Size(helpers) != HELPERS) {
        PyErr_SetString(PyExc_ValueError, "not a mark, or not the helpers");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Accessors *self = (Accessors *)allocate(type, 0);
    if (self == NULL) return NULL;
    Py_INCREF(mark);
    Py_INCREF(places);
    Py_INCREF(helpers);
    self->mark = mark;
    self->places = places;
    self->helpers = helpers;
    self->fixed = MARK_BYTES;
    if (make_part(self, &self->whole, spec) < 0) Py_CLEAR(self);
    return (PyObject *)self;
}

static int visit_part(const Part *part, visitproc visit, void *arg) {
    Py_VISIT((PyObject *)part->kind);
    Py_VISIT(part->members);
    Py_VISIT(part->descriptor);
    for (Py_ssize_t i = 0; part->parts != NULL && i < part->count; i++) {
        int stop = visit_part(part->parts + i, visit, arg);
        if (stop) return stop;
    }
    return 0;
}

static int accessors_traverse(Accessors *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->places);
    Py_VISIT(self->helpers);
    return visit_part(&self->whole, visit, arg);
}

static void accessors_dealloc(Accessors *self) {
    PyObject_GC_UnTrack(self);
    free_part(&self->whole);
    Py_CLEAR(self->mark);
    Py_CLEAR(self->places);
    Py_CLEAR(self->helpers);
    free_object(self);
}

static PyMethodDef accessors_methods[] = {
    {"pack", (PyCFunction)accessors_pack, METH_O,
     "pack($self, value, /)\n--\n\nThe packed message of an object; None if only the general form can carry it."},
    {"read", (PyCFunction)accessors_read, METH_O, "read($self, payload, /)\n--\n\nThe object of a packed message."},
    {NULL},
};

static PyType_Slot accessors_slots[] = {
    {Py_tp_doc, "Accessors(mark, spec, places, helpers)\n--\n\nHow the objects of a class are packed and read."},
    {Py_tp_new, accessors_new},
    {Py_tp_traverse, accessors_traverse},
    {Py_tp_dealloc, accessors_dealloc},
    {Py_tp_methods, accessors_methods},
    {0, NULL},
};

static PyType_Spec accessors_spec = {"horus_async._native.Accessors", sizeof(Accessors), 0,
                                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, accessors_slots};

int add_packed(PyObject *module) {
    empty = PyTuple_New(0);
    value_name = PyUnicode_InternFromString("_value_");
    return empty == NULL || value_name == NULL || add_type(module, &accessors_spec) == NULL ? -1 : 0;
}
