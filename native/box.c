/* Events on their way into a black box: `blackbox/ring.py`, `compact.py` and `entry.py`, whose classes these are.
 *
 * An event is written in one go, during which nobody else has the interpreter. So it needs the ring's lock only where
 * another call is in the middle of a change (`inside`); there, and for whatever is rare, Python does it all.
 */
#include "native.h"

static PyTypeObject *ring_type, *form_type, *entry_type, *record_type;
static PyObject *dumps; /* of orjson */
static PyObject *failures; /* what `dumps` raises for values that it cannot write */
static PyObject *seq_key, *tick_key;

enum { RECORD_SIZE = 48, FIELDS = 44, LINE_OVERHEAD = 10, DIGITS = 8 }; /* see `compact.py` and `layout.py` */

/* ---- Entry, Form ---- */

typedef struct {
    PyObject_HEAD
    char inside;
} Entry;

typedef struct {
    PyObject_HEAD
    unsigned int word;
    long long limit;
} Form;

static void simple_dealloc(PyObject *self) { free_object(self); }

static PyMemberDef entry_members[] = {
    {"inside", T_BOOL, offsetof(Entry, inside), 0, "Whether the ring is being changed."},
    {NULL},
};

static PyType_Slot entry_slots[] = {
    {Py_tp_doc, "The way to one ring."},
    {Py_tp_dealloc, simple_dealloc},
    {Py_tp_members, entry_members},
    {0, NULL},
};

static PyType_Spec entry_spec = {"horus_async._native.EntryCore", sizeof(Entry), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, entry_slots};

static PyMemberDef form_members[] = {
    {"word", T_UINT, offsetof(Form, word), 0, "The first field of its records."},
    {"limit", T_LONGLONG, offsetof(Form, limit), 0, "The last offset where a record may begin; -1: nowhere yet."},
    {NULL},
};

static PyType_Slot form_slots[] = {
    {Py_tp_doc, "What the records of one kind and node share."},
    {Py_tp_dealloc, simple_dealloc},
    {Py_tp_members, form_members},
    {0, NULL},
};

static PyType_Spec form_spec = {"horus_async._native.FormCore", sizeof(Form), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, form_slots};

/* ---- Ring ---- */

typedef struct {
    PyObject_HEAD
    PyObject *memory; /* the mapped file; None where Python does it all */
    PyObject *tick;   /* of the last event that is a line; a number of any size */
    long long position, start, limit, used_word, longest, text_seq, next_seq;
    unsigned int salt, record_salt;
} Ring;

static int ring_traverse(Ring *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->memory);
    Py_VISIT(self->tick);
    return 0;
}

static int ring_clear(Ring *self) {
    Py_CLEAR(self->memory);
    Py_CLEAR(self->tick);
    return 0;
}

static void ring_dealloc(Ring *self) {
    PyObject_GC_UnTrack(self);
    ring_clear(self);
    free_object(self);
}

/* The memory, where an event of that size may be stored at the ring's position; 0 if it may not. */
static int open_memory(Ring *self, Py_ssize_t size, Py_buffer *buffer) {
    if (self->memory == NULL || self->memory == Py_None) return 0;
    if (PyObject_GetBuffer(self->memory, buffer, PyBUF_WRITABLE) < 0) {
        PyErr_Clear(); /* it is closed, which Python says */
        return 0;
    }
    if (self->position >= 0 && self->position + size <= buffer->len && self->used_word >= 0 &&
        8 * self->used_word + 8 <= buffer->len)
        return 1;
    PyBuffer_Release(buffer);
    return 0;
}

/* Makes what was stored at the ring's position count, after all of it is there. */
static void count_in(Ring *self, Py_ssize_t size, Py_buffer *buffer) {
    self->position += size;
    atomic_store_explicit((_Atomic uint64_t *)buffer->buf + self->used_word, (uint64_t)(self->position - self->start),
                          memory_order_release);
    self->next_seq++;
    PyBuffer_Release(buffer);
}

/* Whether a text has "null" in it. */
static int has_null(const char *text, Py_ssize_t length) {
    const char *end = text + length, *at = text;
    while (end - at >= 4 && (at = memchr(at, 'n', (size_t)(end - at - 3))) != NULL) {
        if (memcmp(at, "null", 4) == 0) return 1;
        at++;
    }
    return 0;
}

static void put_line(Ring *self, const char *body, Py_ssize_t length, Py_buffer *buffer) {
    char *at = (char *)buffer->buf + self->position;
    uint32_t check = crc32_of(body, (size_t)length, self->salt);
    memcpy(at + DIGITS + 1, body, (size_t)length);
    at[DIGITS] = ' ';
    at[DIGITS + 1 + length] = '\n';
    for (int i = DIGITS - 1; i >= 0; i--, check >>= 4) at[i] = "0123456789abcdef"[check & 15];
    count_in(self, length + LINE_OVERHEAD, buffer);
}

/* Whether the event with these fields is in the ring. */
static int put_here(Ring *self, Entry *entry, PyObject *fields, Py_ssize_t head) {
    char *body;
    Py_ssize_t length;
    Py_buffer buffer;
    long long seq = self->next_seq;
    PyObject *tick = PyDict_GetItemWithError(fields, tick_key), *number = PyLong_FromLongLong(seq), *text = NULL;
    int is_usual = tick != NULL && PyLong_CheckExact(tick) && number != NULL;
    if (is_usual) {
        Py_INCREF(tick);
        if (PyDict_SetItem(fields, seq_key, number) == 0) text = PyObject_CallFunctionObjArgs(dumps, fields, NULL);
    }
    Py_XDECREF(number);
    if (text == NULL) {
        if (is_usual) Py_DECREF(tick);
        return 0;
    }
    /* Values may have run code of their own; and orjson writes NaN as null, so that is worth a second, slower look. */
    int done = !entry->inside && seq == self->next_seq && PyBytes_CheckExact(text) &&
               PyBytes_AsStringAndSize(text, &body, &length) == 0 && length <= self->longest && head <= length &&
               self->position + length + LINE_OVERHEAD <= self->limit && !has_null(body + head, length - head) &&
               open_memory(self, length + LINE_OVERHEAD, &buffer);
    if (done) {
        PyObject *before = self->tick;
        self->tick = tick;
        tick = before;
        self->text_seq = seq;
        put_line(self, body, length, &buffer);
    }
    Py_XDECREF(tick);
    Py_DECREF(text);
    return done;
}

static PyObject *ring_put(Ring *self, PyObject *args) {
    PyObject *entry, *fields;
    Py_ssize_t head;
    if (!PyArg_ParseTuple(args, "O!O!n", entry_type, &entry, &PyDict_Type, &fields, &head)) return NULL;
    if (!((Entry *)entry)->inside && self->memory != NULL && self->memory != Py_None && head >= 0 &&
        put_here(self, (Entry *)entry, fields, head))
        Py_RETURN_TRUE;
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(failures)) return NULL;
        PyErr_Clear();
    }
    Py_RETURN_FALSE;
}

static PyMethodDef ring_methods[] = {
    {"put", (PyCFunction)ring_put, METH_VARARGS,
     "put($self, entry, fields, head, /)\n--\n\nWrite one event, if it is as usual; whether it is in the ring now."},
    {NULL},
};

static PyMemberDef ring_members[] = {
    {"_memory", T_OBJECT, offsetof(Ring, memory), 0, "The mapped file; None where Python does it all."},
    {"_position", T_LONGLONG, offsetof(Ring, position), 0, "Where the next event goes."},
    {"_start", T_LONGLONG, offsetof(Ring, start), 0, "Where the segment's content begins."},
    {"_limit", T_LONGLONG, offsetof(Ring, limit), 0, "Where to look up next."},
    {"_used_word", T_LONGLONG, offsetof(Ring, used_word), 0, "The word that says how much of the segment is whole."},
    {"_salt", T_UINT, offsetof(Ring, salt), 0, "Of the segment's lines."},
    {"_record_salt", T_UINT, offsetof(Ring, record_salt), 0, "Of its records."},
    {"_tick", T_OBJECT, offsetof(Ring, tick), 0, "Of the last event that is a line."},
    {"_text_seq", T_LONGLONG, offsetof(Ring, text_seq), 0, "Its number."},
    {"longest", T_LONGLONG, offsetof(Ring, longest), 0, "The most bytes of an event's own fields."},
    {"next_seq", T_LONGLONG, offsetof(Ring, next_seq), 0, "The number of the next event."},
    {NULL},
};

static PyType_Slot ring_slots[] = {
    {Py_tp_doc, "The writer's side of a box."},
    {Py_tp_traverse, ring_traverse},
    {Py_tp_clear, ring_clear},
    {Py_tp_dealloc, ring_dealloc},
    {Py_tp_methods, ring_methods},
    {Py_tp_members, ring_members},
    {0, NULL},
};

static PyType_Spec ring_spec = {"horus_async._native.RingCore", sizeof(Ring), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, ring_slots};

/* ---- RecordWriter ---- */

typedef struct {
    PyObject_HEAD
    Ring *ring;
    Entry *entry;
    PyObject *forms;  /* a tuple of Form */
    PyObject *clock;  /* nanoseconds since 1970 */
    PyObject *slowly; /* the same in Python */
} RecordWriter;

static int is_unsigned(PyObject *object, uint64_t *number) {
    int overflow;
    if (!PyLong_Check(object)) return 0;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    *number = (uint64_t)value;
    return !overflow && value >= 0;
}

static int write_here(RecordWriter *self, PyObject *const *args, Py_ssize_t count) {
    uint64_t tick, first_ns, which, second_ns = 0;
    Ring *ring = self->ring;
    Py_buffer buffer;
    if (count < 3 || count > 4 || !is_unsigned(args[0], &tick) || !is_unsigned(args[1], &first_ns) ||
        !is_unsigned(args[2], &which) || (count == 4 && !is_unsigned(args[3], &second_ns)) ||
        which >= (uint64_t)PyTuple_Size(self->forms) || self->entry->inside || !PyCFunction_CheckExact(self->clock))
        return 0;
    Form *form = (Form *)PyTuple_GetItem(self->forms, (Py_ssize_t)which);
    if (ring->position > form->limit) return 0;
    PyObject *now = PyObject_CallNoArgs(self->clock); /* of C, so nothing else runs meanwhile */
    uint64_t now_ns;
    int is_time = now != NULL && is_unsigned(now, &now_ns);
    Py_XDECREF(now);
    if (!is_time || !open_memory(ring, RECORD_SIZE, &buffer)) return 0;
    unsigned char *at = (unsigned char *)buffer.buf + ring->position;
    put_u32(at, form->word);
    put_u64(at + 4, first_ns);
    put_u64(at + 12, second_ns);
    put_u64(at + 20, (uint64_t)ring->next_seq);
    put_u64(at + 28, tick);
    put_u64(at + 36, now_ns);
    put_u32(at + FIELDS, adler32_of((char *)at, FIELDS, ring->record_salt));
    count_in(ring, RECORD_SIZE, &buffer);
    return 1;
}

static PyObject *record_write(RecordWriter *self, PyObject *const *args, Py_ssize_t count) {
    if (write_here(self, args, count)) Py_RETURN_NONE;
    PyErr_Clear();
    PyObject *row = PyTuple_New(count);
    if (row == NULL) return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(row, i, args[i]);
    }
    PyObject *result = PyObject_CallObject(self->slowly, row);
    Py_DECREF(row);
    return result;
}

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named)) {
    PyObject *ring, *entry, *forms, *clock, *slowly;
    if (!PyArg_ParseTuple(args, "O!O!O!OO", ring_type, &ring, entry_type, &entry, &PyTuple_Type, &forms, &clock, &slowly))
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_Size(forms); i++) {
        if (!PyObject_TypeCheck(PyTuple_GetItem(forms, i), form_type)) {
            PyErr_SetString(PyExc_TypeError, "forms are wanted");
            return NULL;
        }
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    RecordWriter *self = (RecordWriter *)alloc(type, 0);
    if (self == NULL) return NULL;
    Py_INCREF(ring);
    Py_INCREF(entry);
    Py_INCREF(forms);
    Py_INCREF(clock);
    Py_INCREF(slowly);
    self->ring = (Ring *)ring;
    self->entry = (Entry *)entry;
    self->forms = forms;
    self->clock = clock;
    self->slowly = slowly;
    return (PyObject *)self;
}

static int record_traverse(RecordWriter *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT((PyObject *)self->ring);
    Py_VISIT((PyObject *)self->entry);
    Py_VISIT(self->forms);
    Py_VISIT(self->clock);
    Py_VISIT(self->slowly);
    return 0;
}

/* Without `tp_clear`: it never changes, and the cycles that it is in go through Python's objects. */
static void record_dealloc(RecordWriter *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF((PyObject *)self->ring);
    Py_XDECREF((PyObject *)self->entry);
    Py_XDECREF(self->forms);
    Py_XDECREF(self->clock);
    Py_XDECREF(self->slowly);
    free_object(self);
}

static PyMethodDef record_methods[] = {
    {"write", (PyCFunction)(void (*)(void))record_write, METH_FASTCALL,
     "write($self, tick, first_ns, which, second_ns=0, /)\n--\n\nSee `Ring.writer`."},
    {NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc, "Writes events as the numbers that a form leaves open."},
    {Py_tp_new, record_new},
    {Py_tp_traverse, record_traverse},
    {Py_tp_dealloc, record_dealloc},
    {Py_tp_methods, record_methods},
    {0, NULL},
};

static PyType_Spec record_spec = {"horus_async._native.RecordWriter", sizeof(RecordWriter), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, record_slots};

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *writes, *raised;
    if (!PyArg_ParseTuple(args, "OO", &writes, &raised)) return NULL;
    Py_INCREF(writes);
    Py_INCREF(raised);
    Py_XDECREF(dumps);
    Py_XDECREF(failures);
    dumps = writes;
    failures = raised;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"connect_box", connect, METH_VARARGS, "connect_box(dumps, failures, /)\n--\n\nWhat writes events as JSON."},
    {NULL},
};

int add_box(PyObject *module) {
    seq_key = PyUnicode_InternFromString("seq");
    tick_key = PyUnicode_InternFromString("tick");
    if (seq_key == NULL || tick_key == NULL || PyModule_AddFunctions(module, functions) < 0) return -1;
    entry_type = add_type(module, &entry_spec);
    form_type = add_type(module, &form_spec);
    ring_type = add_type(module, &ring_spec);
    record_type = add_type(module, &record_spec);
    return entry_type == NULL || form_type == NULL || ring_type == NULL || record_type == NULL ? -1 : 0;
}
