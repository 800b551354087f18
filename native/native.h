/* The native core: what every message passes through, as the Python code beside it does it, which is the reference.
 *
 * Each file stands for one module of the package and says which. Nothing here gives up the interpreter's lock in the
 * middle of a ring, and so nothing here needs a turn; whatever is rare is left to Python, which the functions call.
 */
#ifndef HORUS_NATIVE_H
#define HORUS_NATIVE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000 /* buffers are part of it since Python 3.11 */
#include <Python.h>
#include <structmember.h>

/* Raise it, here and in `native/__init__.py` of the package, whenever what the two say to each other changes: a checkout
 * that was updated and not installed again has an older core, which must not be used. */
#define INTERFACE 3

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* Numbers of one size at any place, little-endian like everything in a ring: other machines take the Python code. */
static inline uint64_t get_u64(const unsigned char *at) {
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static inline void put_u64(unsigned char *at, uint64_t number) { memcpy(at, &number, sizeof number); }

static inline uint32_t get_u32(const unsigned char *at) {
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static inline void put_u32(unsigned char *at, uint32_t number) { memcpy(at, &number, sizeof number); }

/* Python's clocks. Its finest and its monotonic one are the same, which macOS calls by another name. */
#ifdef CLOCK_UPTIME_RAW
#define PYTHONS_MONOTONIC CLOCK_UPTIME_RAW
#else
#define PYTHONS_MONOTONIC CLOCK_MONOTONIC
#endif

static inline int64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* ring.c */

enum { LATEST = 16, OLDEST = 17, NEXT = 18, CLOSED = 19, SLEEPERS = 24 }; /* words of the header */

/* A generation of a ring, mapped. */
typedef struct {
    Py_buffer buffer; /* its `obj` is NULL before the first */
    uint64_t data_at, mask;
} Mapped;

static inline _Atomic uint64_t *word(const Mapped *mapped, int number) {
    return (_Atomic uint64_t *)mapped->buffer.buf + number;
}

typedef struct {
    PyObject_HEAD
    Mapped mapped;
    uint64_t tail, limit, index;
    char checked; /* records have checksums: Python writes them */
} Writer;

typedef struct {
    PyObject_HEAD
    Mapped mapped;
    PyObject *names; /* of the publishers, as far as they are known */
    PyObject *words;
    uint64_t position, index;
    char careful; /* the ring has checksums, or makes no sense: Python looks at everything */
} Reader;

extern PyTypeObject *writer_type, *reader_type;

/* Writes a record if there is room for it in what was claimed; returns whether it did. */
int write_record(Writer *ring, const char *payload, uint64_t length, uint32_t publisher, uint64_t seq, int64_t stamp_ns,
                 int64_t order_ns);

/* The next message (a new reference), or None; NULL without an exception where Python has to look. */
PyObject *take_here(Reader *self);

/* codec.c */

PyObject *encode_value(PyObject *value, PyObject *forms);
PyObject *decode_payload(PyObject *payload);

/* topics.c: `publish` and `take` of an object of these types. */

extern PyTypeObject *publisher_type, *subscriber_type;

PyObject *publish_payload(PyObject *publisher, PyObject *payload, int64_t stamp_ns, int64_t order_ns);
PyObject *take_message(PyObject *subscriber);

/* sums.c */

uint32_t crc32_of(const char *bytes, size_t length, uint32_t sum);
uint32_t adler32_of(const char *bytes, size_t length, uint32_t sum);
void prepare_sums(void);

/* module.c */

/* Stores a new reference in the place of an old one. */
static inline void assign(PyObject **place, PyObject *object) {
    PyObject *old = *place;
    *place = object;
    Py_XDECREF(old);
}

static inline void assign_shared(PyObject **place, PyObject *object) {
    Py_INCREF(object);
    assign(place, object);
}

/* Calls a method of that interned name with up to three arguments. */
PyObject *call_named(PyObject *self, PyObject *name, PyObject *one, PyObject *two, PyObject *three);

/* Makes a named tuple of some objects, which it takes over; NULL stands for one that could not be made. */
PyObject *make_tuple(PyObject *type, PyObject **items, Py_ssize_t count);

PyObject *call_method(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count);

/* Adds the types and functions of one file to the module; -1 and an exception if that fails. */
int add_ring(PyObject *module);
int add_codec(PyObject *module);
int add_packed(PyObject *module);
int add_topics(PyObject *module);
int add_ports(PyObject *module);
int add_state(PyObject *module);
int add_tick(PyObject *module);
int add_records(PyObject *module);
int add_lines(PyObject *module);
int add_box(PyObject *module);
int add_frames(PyObject *module);

/* sent.c */

int add_sent(PyObject *module);

/* Makes a type from its description and adds it to the module; NULL and an exception if that fails. */
PyTypeObject *add_type(PyObject *module, PyType_Spec *spec);

/* The type of an object of ours, and the end of its `tp_dealloc`. */
static inline PyObject *type_of(void *self) { return (PyObject *)Py_TYPE((PyObject *)self); }

static inline void free_object(void *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc free = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free(self);
    Py_DECREF((PyObject *)type);
}

/* The `tp_dealloc` of an object that holds no others. */
void free_plain(PyObject *self);

#define VISIT(field) Py_VISIT(self->field);
#define CLEAR(field) Py_CLEAR(self->field);

/* How objects with these fields are traversed and freed: EACH names all those that hold an object. */
#define HOLDS(Struct, prefix, EACH)                                            \
    static int prefix##_traverse(Struct *self, visitproc visit, void *arg) {   \
        Py_VISIT(type_of(self));                                               \
        EACH(VISIT)                                                            \
        return 0;                                                              \
    }                                                                          \
    static int prefix##_clear(Struct *self) {                                  \
        EACH(CLEAR)                                                            \
        return 0;                                                              \
    }                                                                          \
    static void prefix##_dealloc(Struct *self) {                               \
        PyObject_GC_UnTrack(self);                                             \
        prefix##_clear(self);                                                  \
        free_object(self);                                                     \
    }
#define HOLDING(prefix) {Py_tp_traverse, prefix##_traverse}, {Py_tp_clear, prefix##_clear}, {Py_tp_dealloc, prefix##_dealloc}
#define GC_BASE (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC)


/* packed.c: calls a function with one argument, directly if it is one of an `Accessors`. */
PyObject *call_accessor(PyObject *function, PyObject *argument);

#endif
