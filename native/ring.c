/* Writing and reading a ring: `topics/ring/core.py`, whose classes these are. `topics/ring/layout.py` has the layout. */
#include "native.h"

enum { LENGTH = 0, INDEX = 8, SEQ = 16, STAMP = 24, ORDER = 32, PUBLISHER = 40, CRC = 44, RECORD = 48 };

/* From this many bytes on memory is worth sparing, see `topics/values/payload.py`: Python reads such messages. */
#define LARGE (1 << 16)

PyTypeObject *writer_type, *reader_type;

static inline unsigned char *place(const Mapped *mapped, uint64_t position) {
    return (unsigned char *)mapped->buffer.buf + mapped->data_at + (position & mapped->mask);
}

static inline uint64_t record_size(uint64_t length) { return (RECORD + length + 7) & ~(uint64_t)7; }

static int map_region(Mapped *mapped, PyObject *memory, unsigned long long data_at, unsigned long long capacity) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(memory, &buffer, PyBUF_WRITABLE) < 0) return -1;
    if ((uint64_t)buffer.len != data_at + capacity || capacity < RECORD || (capacity & (capacity - 1)) ||
        data_at < 8 * 64 || data_at % 8 || (uintptr_t)buffer.buf % 8) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "not the memory of a ring");
        return -1;
    }
    PyBuffer_Release(&mapped->buffer); /* does nothing to one without `obj` */
    *mapped = (Mapped){buffer, data_at, capacity - 1};
    return 0;
}

/* ---- Writer ---- */

static PyObject *writer_enter(Writer *self, PyObject *args) {
    PyObject *memory;
    unsigned long long data_at, capacity;
    if (!PyArg_ParseTuple(args, "OKK", &memory, &data_at, &capacity)) return NULL;
    if (map_region(&self->mapped, memory, data_at, capacity) < 0) return NULL;
    Py_RETURN_NONE;
}

int write_record(Writer *ring, const char *payload, uint64_t length, uint32_t publisher, uint64_t seq,
                        int64_t stamp_ns, int64_t order_ns) {
    uint64_t start = ring->tail, size = record_size(length);
    if (ring->checked || start > ring->limit || size > ring->limit - start || (start & ring->mapped.mask) + size > ring->mapped.mask + 1)
        return 0;
    unsigned char *at = place(&ring->mapped, start);
    atomic_thread_fence(memory_order_release); /* after OLDEST, which was stored when the room was made */
    put_u64(at + LENGTH, length);
    put_u64(at + INDEX, ring->index);
    put_u64(at + SEQ, seq);
    put_u64(at + STAMP, (uint64_t)stamp_ns);
    put_u64(at + ORDER, (uint64_t)order_ns);
    put_u32(at + PUBLISHER, publisher);
    put_u32(at + CRC, 0);
    memcpy(at + RECORD, payload, length);
    atomic_store_explicit(word(&ring->mapped, LATEST), start, memory_order_release);
    ring->tail = start + size;
    ring->index++;
    return 1;
}

static int writer_traverse(Writer *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->mapped.buffer.obj);
    return 0;
}

static void writer_dealloc(Writer *self) {
    PyObject_GC_UnTrack(self);
    PyBuffer_Release(&self->mapped.buffer);
    free_object(self);
}

static PyMethodDef writer_methods[] = {
    {"enter", (PyCFunction)writer_enter, METH_VARARGS,
     "enter(memory, data_at, capacity)\n--\n\nWrite here from now on: a generation's mapped memory."},
    {NULL},
};

static PyMemberDef writer_members[] = {
    {"data_at", T_ULONGLONG, offsetof(Writer, mapped.data_at), READONLY, "Offset of the data."},
    {"mask", T_ULONGLONG, offsetof(Writer, mapped.mask), READONLY, "The capacity less one."},
    {"tail", T_ULONGLONG, offsetof(Writer, tail), 0, "Position of the next record."},
    {"limit", T_ULONGLONG, offsetof(Writer, limit), 0, "How far may be written."},
    {"index", T_ULONGLONG, offsetof(Writer, index), 0, "Of the next record."},
    {"checked", T_BOOL, offsetof(Writer, checked), 0, "Whether records have checksums."},
    {NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "Where a ring is written."},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_members, writer_members},
    {0, NULL},
};

static PyType_Spec writer_spec = {"horus_async._native.WriterCore", sizeof(Writer), 0, GC_BASE, writer_slots};

/* ---- Reader ---- */

static PyObject *reader_enter(Reader *self, PyObject *args) {
    PyObject *memory;
    unsigned long long data_at, capacity;
    if (!PyArg_ParseTuple(args, "OKK", &memory, &data_at, &capacity)) return NULL;
    if (map_region(&self->mapped, memory, data_at, capacity) < 0) return NULL;
    Py_CLEAR(self->names);
    Py_RETURN_NONE;
}

PyObject *take_here(Reader *self) {
    const Mapped *mapped = &self->mapped;
    if (self->careful || mapped->buffer.obj == NULL) return NULL;
    uint64_t position = self->position;
    if (atomic_load_explicit(word(mapped, LATEST), memory_order_acquire) < position) {
        if (atomic_load_explicit(word(mapped, NEXT), memory_order_relaxed) ||
            atomic_load_explicit(word(mapped, CLOSED), memory_order_relaxed))
            return NULL;
        Py_RETURN_NONE;
    }
    uint64_t room = mapped->mask + 1 - (position & mapped->mask);
    const unsigned char *at = place(mapped, position);
    if (room < RECORD || position & 7 || self->names == NULL) return NULL;
    uint64_t length = get_u64(at + LENGTH);
    if (length >= LARGE || length > room - RECORD || get_u64(at + INDEX) != self->index) return NULL;
    PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    if (payload == NULL) return NULL;
    memcpy(PyBytes_AsString(payload), at + RECORD, length);
    uint64_t seq = get_u64(at + SEQ), publisher = get_u32(at + PUBLISHER);
    int64_t stamp_ns = (int64_t)get_u64(at + STAMP);
    atomic_thread_fence(memory_order_acquire); /* OLDEST only after all of the above */
    PyObject *name = NULL, *message = NULL;
    if (atomic_load_explicit(word(mapped, OLDEST), memory_order_relaxed) <= position &&
        publisher < (uint64_t)PyList_Size(self->names)) {
        name = PyList_GetItem(self->names, (Py_ssize_t)publisher);
        message = PyTuple_New(4);
    }
    PyObject *seq_number = message == NULL ? NULL : PyLong_FromUnsignedLongLong(seq);
    PyObject *stamp = seq_number == NULL ? NULL : PyLong_FromLongLong(stamp_ns);
    if (stamp == NULL) {
        Py_DECREF(payload);
        Py_XDECREF(message);
        Py_XDECREF(seq_number);
        return NULL;
    }
    Py_INCREF(name);
    PyTuple_SetItem(message, 0, payload);
    PyTuple_SetItem(message, 1, name);
    PyTuple_SetItem(message, 2, seq_number);
    PyTuple_SetItem(message, 3, stamp);
    self->position = position + record_size(length);
    self->index++;
    return message;
}

static PyObject *reader_take(Reader *self, PyObject *Py_UNUSED(none)) {
    PyObject *message = take_here(self);
    if (message != NULL || PyErr_Occurred()) return message;
    return call_method((PyObject *)self, "take_slowly", NULL, 0);
}

static int reader_traverse(Reader *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->mapped.buffer.obj);
    Py_VISIT(self->names);
    Py_VISIT(self->words);
    return 0;
}

static int reader_clear(Reader *self) {
    Py_CLEAR(self->names);
    Py_CLEAR(self->words);
    return 0;
}

static void reader_dealloc(Reader *self) {
    PyObject_GC_UnTrack(self);
    reader_clear(self);
    PyBuffer_Release(&self->mapped.buffer);
    free_object(self);
}

static PyMethodDef reader_methods[] = {
    {"enter", (PyCFunction)reader_enter, METH_VARARGS,
     "enter(memory, data_at, capacity)\n--\n\nRead here from now on: a generation's mapped memory."},
    {"take", (PyCFunction)reader_take, METH_NOARGS, "take($self, /)\n--\n\nThe next message, or None."},
    {NULL},
};

static PyMemberDef reader_members[] = {
    {"data_at", T_ULONGLONG, offsetof(Reader, mapped.data_at), READONLY, "Offset of the data."},
    {"mask", T_ULONGLONG, offsetof(Reader, mapped.mask), READONLY, "The capacity less one."},
    {"words", T_OBJECT, offsetof(Reader, words), 0, "The words of the memory, for Python."},
    {"names", T_OBJECT, offsetof(Reader, names), 0, "The names of the publishers, as far as they are known."},
    {"position", T_ULONGLONG, offsetof(Reader, position), 0, "Of the next message."},
    {"index", T_ULONGLONG, offsetof(Reader, index), 0, "Of the next message."},
    {"careful", T_BOOL, offsetof(Reader, careful), 0, "Whether Python looks at everything."},
    {NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "A place in a ring to read from."},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_members, reader_members},
    {0, NULL},
};

static PyType_Spec reader_spec = {"horus_async._native.ReaderCore", sizeof(Reader), 0, GC_BASE, reader_slots};

int add_ring(PyObject *module) {
    writer_type = add_type(module, &writer_spec);
    reader_type = writer_type == NULL ? NULL : add_type(module, &reader_spec);
    return reader_type == NULL ? -1 : 0;
}
