/* What a recorder is told, made into lines: `recorder/write/line_core.py`, whose classes these are.
 *
 * Each function makes a line of its own in the maker's `text` and changes nothing before it is whole; where anything is
 * not as usual, Python does it all. No step between reading a feed and changing it runs code of others.
 */
#include "native.h"

static PyTypeObject *tally_type, *room_type, *feed_type, *maker_type;
static PyObject *quoted; /* names as JSON strings: `lines.quoted` */

enum {
    LONG_PAYLOAD = 1 << 14, /* zlib is as quick with longer ones */
    PENDING_BYTES = 1 << 20 /* see `line_maker.py` */
};

/* ---- Tally, Room ---- */

typedef struct {
    PyObject_HEAD
    long long count, bytes, first_tick, last_tick;
} Tally;

static void see(Tally *self, int64_t tick, int64_t size) {
    if (!self->count) self->first_tick = self->last_tick = tick;
    if (tick > self->last_tick) self->last_tick = tick;
    if (tick < self->first_tick) self->first_tick = tick;
    self->count++;
    self->bytes += size;
}

static PyObject *tally_see(Tally *self, PyObject *args) {
    long long tick, size;
    if (!PyArg_ParseTuple(args, "LL", &tick, &size)) return NULL;
    see(self, tick, size);
    Py_RETURN_NONE;
}

static void simple_dealloc(PyObject *self) { free_object(self); }

static PyMethodDef tally_methods[] = {
    {"see", (PyCFunction)tally_see, METH_VARARGS, "see($self, tick, size, /)\n--\n\nCount a message."},
    {NULL},
};

static PyMemberDef tally_members[] = {
    {"count", T_LONGLONG, offsetof(Tally, count), 0, "Messages."},
    {"bytes", T_LONGLONG, offsetof(Tally, bytes), 0, "Of them, as JSON text."},
    {"first_tick", T_LONGLONG, offsetof(Tally, first_tick), 0, "The lowest."},
    {"last_tick", T_LONGLONG, offsetof(Tally, last_tick), 0, "The highest."},
    {NULL},
};

static PyType_Slot tally_slots[] = {
    {Py_tp_doc, "How many messages there were, how large, and in which ticks."},
    {Py_tp_dealloc, simple_dealloc},
    {Py_tp_methods, tally_methods},
    {Py_tp_members, tally_members},
    {0, NULL},
};

static PyType_Spec tally_spec = {"horus_async._native.TallyCore", sizeof(Tally), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, tally_slots};

typedef struct {
    PyObject_HEAD
    long long left;
} Room;

static PyMemberDef room_members[] = {
    {"left", T_LONGLONG, offsetof(Room, left), 0, "Bytes that may be put without asking."},
    {NULL},
};

static PyType_Slot room_slots[] = {
    {Py_tp_doc, "Room that is granted in advance."},
    {Py_tp_dealloc, simple_dealloc},
    {Py_tp_members, room_members},
    {0, NULL},
};

static PyType_Spec room_spec = {"horus_async._native.RoomCore", sizeof(Room), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, room_slots};

/* ---- Feed ---- */

typedef struct {
    PyObject_HEAD
    PyObject *text;            /* a bytearray of the lines that wait */
    PyObject *pending, *loose; /* lists of what was sent and is in no line */
    PyObject *topics;          /* a dict of tallies */
    PyObject *gap;             /* None if nothing is missing */
    long long pending_bytes, ticks, inputs, outputs;
} Feed;

static int feed_traverse(Feed *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->text);
    Py_VISIT(self->pending);
    Py_VISIT(self->loose);
    Py_VISIT(self->topics);
    Py_VISIT(self->gap);
    return 0;
}

static int feed_clear(Feed *self) {
    Py_CLEAR(self->text);
    Py_CLEAR(self->pending);
    Py_CLEAR(self->loose);
    Py_CLEAR(self->topics);
    Py_CLEAR(self->gap);
    return 0;
}

static void feed_dealloc(Feed *self) {
    PyObject_GC_UnTrack(self);
    feed_clear(self);
    free_object(self);
}

static PyMemberDef feed_members[] = {
    {"text", T_OBJECT_EX, offsetof(Feed, text), 0, "The lines that wait."},
    {"pending", T_OBJECT_EX, offsetof(Feed, pending), 0, "What the running callback has sent."},
    {"loose", T_OBJECT_EX, offsetof(Feed, loose), 0, "What was sent outside of callbacks."},
    {"topics", T_OBJECT_EX, offsetof(Feed, topics), 0, "What the lines hold of each topic."},
    {"gap", T_OBJECT, offsetof(Feed, gap), 0, "What is missing and no gap line tells of yet."},
    {"pending_bytes", T_LONGLONG, offsetof(Feed, pending_bytes), 0, "Of what is pending and loose."},
    {"ticks", T_LONGLONG, offsetof(Feed, ticks), 0, "In the lines that were put."},
    {"inputs", T_LONGLONG, offsetof(Feed, inputs), 0, "The same."},
    {"outputs", T_LONGLONG, offsetof(Feed, outputs), 0, "The same."},
    {NULL},
};

static PyType_Slot feed_slots[] = {
    {Py_tp_doc, "Lines for one file, on their way to it."},
    {Py_tp_traverse, feed_traverse},
    {Py_tp_clear, feed_clear},
    {Py_tp_dealloc, feed_dealloc},
    {Py_tp_members, feed_members},
    {0, NULL},
};

static PyType_Spec feed_spec = {"horus_async._native.FeedCore", sizeof(Feed), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, feed_slots};

/* Whether nothing has to be put before the next line. */
static int is_ready(PyObject *feed) {
    if (!PyObject_TypeCheck(feed, feed_type)) return 0;
    Feed *self = (Feed *)feed;
    return self->text != NULL && PyByteArray_CheckExact(self->text) && self->pending != NULL &&
           PyList_CheckExact(self->pending) && self->loose != NULL && PyList_CheckExact(self->loose) &&
           self->topics != NULL && PyDict_CheckExact(self->topics) && (self->gap == NULL || self->gap == Py_None);
}

static Tally *tally_of(Feed *feed, PyObject *topic) {
    PyObject *found = PyUnicode_CheckExact(topic) ? PyDict_GetItemWithError(feed->topics, topic) : NULL;
    return found != NULL && PyObject_TypeCheck(found, tally_type) ? (Tally *)found : NULL;
}

/* ---- Text ---- */

typedef struct {
    char *bytes;
    size_t length, room;
} Text;

/* These return whether all is well: there is memory, and the values are as usual. */

static int put(Text *text, const char *bytes, size_t length) {
    if (text->room - text->length < length) {
        size_t room = 2 * (text->length + length) + 512;
        char *moved = PyMem_Realloc(text->bytes, room);
        if (moved == NULL) return 0;
        text->bytes = moved;
        text->room = room;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return 1;
}

#define PUT(text, literal) put(text, literal, sizeof literal - 1)

static int put_number(Text *text, int64_t number) {
    char digits[20];
    int at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0) digits[--at] = '-';
    return put(text, digits + at, sizeof digits - (size_t)at);
}

static int put_bytes(Text *text, PyObject *bytes) {
    return put(text, PyBytes_AsString(bytes), (size_t)PyBytes_Size(bytes));
}

/* A name as a JSON string; borrowed. NULL where it is met for the first time, or is no plain text. */
static PyObject *quoted_name(PyObject *name) {
    PyObject *found = PyUnicode_CheckExact(name) ? PyDict_GetItemWithError(quoted, name) : NULL;
    return found != NULL && PyBytes_CheckExact(found) ? found : NULL;
}

static int put_name(Text *text, PyObject *name) {
    PyObject *found = quoted_name(name);
    return found != NULL && put_bytes(text, found);
}

static int is_number(PyObject *object, int64_t *number) {
    int overflow;
    if (!PyLong_CheckExact(object)) return 0;
    *number = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow;
}

/* The items of a named tuple, borrowed. */
static int unpack(PyObject *tuple, PyObject **items, Py_ssize_t count) {
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != count) return 0;
    for (Py_ssize_t i = 0; i < count; i++) items[i] = PyTuple_GetItem(tuple, i);
    return 1;
}

/* ---- LineMaker ---- */

typedef struct {
    PyObject_HEAD
    PyObject *feeds;     /* of the nodes, by name */
    PyObject *scheduler; /* a Feed */
    PyObject *room;      /* a Room, or None where what is told has room already */
    long long waiting;   /* messages that no line holds yet */
    long long last_tick;
    long long longest;   /* bytes of a line; Python looks at what a longer one holds */
    unsigned int digest; /* of the tick that goes on */
    Text text;
} Maker;

static Feed *feed_of(Maker *self, PyObject *node) {
    PyObject *found = self->feeds != NULL && PyDict_CheckExact(self->feeds) && PyUnicode_CheckExact(node)
                          ? PyDict_GetItemWithError(self->feeds, node)
                          : NULL;
    return found != NULL && is_ready(found) ? (Feed *)found : NULL;
}

/* Whether a text of that size may be put: it is no longer than usual, and there is room. */
static int has_room(Maker *self, size_t size) {
    if (self->room == NULL || self->room == Py_None) return (long long)size <= self->longest;
    return (long long)size <= self->longest && PyObject_TypeCheck(self->room, room_type) &&
           ((Room *)self->room)->left >= (long long)size;
}

static void take_room(Maker *self, size_t size) {
    if (self->room != NULL && self->room != Py_None) ((Room *)self->room)->left -= (long long)size;
}

static int put_line(Feed *feed, const char *line, size_t size) {
    Py_ssize_t before = PyByteArray_Size(feed->text);
    if (PyByteArray_Resize(feed->text, before + (Py_ssize_t)size) < 0) {
        PyErr_Clear();
        return 0;
    }
    memcpy(PyByteArray_AsString(feed->text) + before, line, size);
    return 1;
}

/* Puts the maker's text into a feed; whether it could. */
static int put_text(Maker *self, Feed *feed) {
    if (!has_room(self, self->text.length) || !put_line(feed, self->text.bytes, self->text.length)) return 0;
    take_room(self, self->text.length);
    return 1;
}

static void add_digest(Maker *self, PyObject *node, PyObject *topic, int64_t seq, PyObject *payload) {
    char number[24];
    int length = PyOS_snprintf(number, sizeof number, " %lld ", (long long)seq);
    self->digest = crc32_of(PyBytes_AsString(node), (size_t)PyBytes_Size(node), self->digest);
    self->digest = crc32_of(" ", 1, self->digest);
    self->digest = crc32_of(PyBytes_AsString(topic), (size_t)PyBytes_Size(topic), self->digest);
    self->digest = crc32_of(number, (size_t)length, self->digest);
    self->digest = crc32_of(PyBytes_AsString(payload), (size_t)PyBytes_Size(payload), self->digest);
    self->digest = crc32_of(" ", 1, self->digest);
}

/* Whether this is the text of a message, as it stands in a line. */
static int is_text(PyObject *payload) {
    return PyBytes_CheckExact(payload) && PyBytes_Size(payload) > 0 && PyBytes_AsString(payload)[0] != 0;
}

static int sent_here(Maker *self, PyObject *message) {
    PyObject *of[7], *first[7], *node, *topic; /* node, topic, seq, stamp_ns, payload, tick, began */
    int64_t seq, began, waits_for;
    Feed *feed;
    if (!unpack(message, of, 7) || (feed = feed_of(self, of[0])) == NULL || !is_text(of[4])) return 0;
    Py_ssize_t size = PyBytes_Size(of[4]);
    if (size > LONG_PAYLOAD || !is_number(of[2], &seq) || !is_number(of[6], &began) || (node = quoted_name(of[0])) == NULL || (topic = quoted_name(of[1])) == NULL ||
        feed->pending_bytes + size > PENDING_BYTES)
        return 0;
    if (PyList_Size(feed->pending) > 0 &&
        (!unpack(PyList_GetItem(feed->pending, 0), first, 7) || !is_number(first[6], &waits_for) || waits_for != began))
        return 0;
    if (PyList_Append(feed->pending, message) < 0) return 0;
    self->waiting++;
    feed->pending_bytes += size;
    add_digest(self, node, topic, seq, of[4]);
    return 1;
}

static int put_input(Text *text, PyObject *taken) {
    PyObject *of[5]; /* topic, publisher, seq, source, empty */
    int64_t seq, source, empty;
    return unpack(taken, of, 5) && is_number(of[2], &seq) && is_number(of[3], &source) && is_number(of[4], &empty) &&
           PUT(text, "{\"topic\":") && put_name(text, of[0]) && PUT(text, ",\"publisher\":") && put_name(text, of[1]) &&
           (!source || (PUT(text, ",\"source\":") && put_number(text, source))) &&
           (!empty || (PUT(text, ",\"empty\":") && put_number(text, empty))) && PUT(text, ",\"seq\":") &&
           put_number(text, seq) && PUT(text, "}");
}

static int put_message(Text *text, PyObject *topic, PyObject *payload, int64_t stamp_ns, int64_t seq) {
    return PUT(text, "{\"topic\":") && put_name(text, topic) && PUT(text, ",\"data\":") && put_bytes(text, payload) &&
           PUT(text, ",\"stamp_ns\":") && put_number(text, stamp_ns) && PUT(text, ",\"seq\":") && put_number(text, seq);
}

/* A message that the callback of `tick` has sent. */
static int put_output(Text *text, Feed *feed, PyObject *sent, int64_t tick) {
    PyObject *of[7]; /* node, topic, seq, stamp_ns, payload, tick, began */
    int64_t seq, stamp_ns, sent_in, began;
    return unpack(sent, of, 7) && is_number(of[2], &seq) && is_number(of[3], &stamp_ns) && is_number(of[5], &sent_in) &&
           is_number(of[6], &began) && began == tick && tally_of(feed, of[1]) != NULL && is_text(of[4]) &&
           put_message(text, of[1], of[4], stamp_ns, seq) &&
           (sent_in == tick || (PUT(text, ",\"tick\":") && put_number(text, sent_in))) && PUT(text, "}");
}

static int put_opening(Text *text, int64_t dt_ns, int64_t duration_ns) {
    return PUT(text, "{\"kind\":\"tick\",\"dt_ns\":") && put_number(text, dt_ns) && PUT(text, ",\"duration_ns\":") &&
           put_number(text, duration_ns) && PUT(text, ",\"error\":null,\"inputs\":[");
}

static int put_when(Text *text, int64_t now_ns, int64_t tick) {
    return PUT(text, ",\"now_ns\":") && put_number(text, now_ns) && PUT(text, ",\"tick\":") && put_number(text, tick) &&
           PUT(text, "}\n");
}

static int put_execution(Text *text, Feed *feed, PyObject **of, int64_t tick) {
    int64_t now_ns, dt_ns, duration_ns;
    if (!is_number(of[3], &now_ns) || !is_number(of[4], &dt_ns) || !is_number(of[5], &duration_ns) ||
        !PyList_CheckExact(of[6]) || !put_opening(text, dt_ns, duration_ns))
        return 0;
    Py_ssize_t count = PyList_Size(of[6]);
    for (Py_ssize_t i = 0; i < count; i++)
        if ((i && !PUT(text, ",")) || !put_input(text, PyList_GetItem(of[6], i))) return 0;
    if (!PUT(text, "],\"outputs\":[")) return 0;
    count = PyList_Size(feed->pending);
    for (Py_ssize_t i = 0; i < count; i++)
        if ((i && !PUT(text, ",")) || !put_output(text, feed, PyList_GetItem(feed->pending, i), tick)) return 0;
    return PUT(text, "]") && put_when(text, now_ns, tick);
}

static void count_outputs(Feed *feed, PyObject *outputs, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *sent = PyList_GetItem(outputs, i);
        int64_t sent_in = 0;
        is_number(PyTuple_GetItem(sent, 5), &sent_in);
        see(tally_of(feed, PyTuple_GetItem(sent, 1)), sent_in, PyBytes_Size(PyTuple_GetItem(sent, 4)));
    }
    feed->outputs += count;
}

static int executed_here(Maker *self, PyObject *execution) {
    PyObject *of[12]; /* kind, node, tick, now_ns, dt_ns, duration_ns, inputs, error, took_ns, cut, looks, after_ns */
    int64_t tick, after_ns;
    Feed *feed;
    if (!unpack(execution, of, 12) || !PyUnicode_CheckExact(of[0]) || !is_number(of[2], &tick) || of[7] != Py_None ||
        of[9] != Py_False || of[10] != Py_None || !is_number(of[11], &after_ns) || after_ns ||
        PyUnicode_CompareWithASCIIString(of[0], "tick") != 0 || (feed = feed_of(self, of[1])) == NULL ||
        PyList_Size(feed->loose) > 0)
        return 0;
    self->text.length = 0;
    if (!put_execution(&self->text, feed, of, tick) || !put_text(self, feed)) return 0;
    Py_ssize_t count = PyList_Size(feed->pending);
    if (count) {
        count_outputs(feed, feed->pending, count);
        self->waiting -= count;
        feed->pending_bytes = 0;
        PyList_SetSlice(feed->pending, 0, count, NULL); /* of all of it: takes no memory, so cannot fail */
    }
    feed->ticks++;
    feed->inputs += PyList_Size(of[6]);
    return 1;
}

static int put_names(Text *text, PyObject *names) {
    Py_ssize_t count = PyList_Size(names);
    for (Py_ssize_t i = 0; i < count; i++)
        if ((i && !PUT(text, ",")) || !put_name(text, PyList_GetItem(names, i))) return 0;
    return 1;
}

static int put_digest(Text *text, unsigned int digest) {
    char digits[6];
    for (int i = 0; i < 6; i++) digits[i] = "0123456789abcdef"[digest >> (20 - 4 * i) & 15];
    return put(text, digits, sizeof digits);
}

static int tick_ended_here(Maker *self, PyObject *end) {
    PyObject *of[4]; /* tick, now_ns, order, elapsed_ns */
    int64_t tick, now_ns;
    if (!unpack(end, of, 4) || !is_number(of[0], &tick) || !is_number(of[1], &now_ns) || !PyList_CheckExact(of[2]) ||
        of[3] != Py_None || tick < self->last_tick || self->scheduler == NULL || !is_ready(self->scheduler) ||
        (self->waiting && self->room != NULL && self->room != Py_None))
        return 0;
    Text *text = &self->text;
    text->length = 0;
    if (!PUT(text, "{\"kind\":\"tick\",\"order\":[") || !put_names(text, of[2]) || !PUT(text, "],\"digest\":\"") ||
        !put_digest(text, self->digest) || !PUT(text, "\"") || !put_when(text, now_ns, tick) ||
        !put_text(self, (Feed *)self->scheduler))
        return 0;
    ((Feed *)self->scheduler)->ticks++;
    self->digest = 0;
    self->last_tick = tick;
    return 1;
}

/* A tick in which one node ran and sent one message: node, topic, seq, stamp_ns, payload, tick, now_ns, dt_ns. */
static int lone_here(Maker *self, PyObject *const *of, Py_ssize_t count) {
    int64_t seq, stamp_ns, tick, now_ns, dt_ns;
    PyObject *node, *topic;
    Feed *feed, *scheduler = (Feed *)self->scheduler;
    Text *text = &self->text;
    if (count != 8 || self->waiting || self->room == NULL || self->room == Py_None || scheduler == NULL ||
        !is_ready(self->scheduler) || (feed = feed_of(self, of[0])) == NULL || tally_of(feed, of[1]) == NULL ||
        (node = quoted_name(of[0])) == NULL || (topic = quoted_name(of[1])) == NULL || !is_text(of[4]) ||
        PyBytes_Size(of[4]) > LONG_PAYLOAD || !is_number(of[2], &seq) || !is_number(of[3], &stamp_ns) ||
        !is_number(of[5], &tick) || !is_number(of[6], &now_ns) || !is_number(of[7], &dt_ns) || tick < self->last_tick)
        return 0;
    text->length = 0;
    if (!put_opening(text, dt_ns, 0) || !PUT(text, "],\"outputs\":[") ||
        !put_message(text, of[1], of[4], stamp_ns, seq) || !PUT(text, "}]") || !put_when(text, now_ns, tick))
        return 0;
    size_t end = text->length;
    unsigned int before = self->digest;
    add_digest(self, node, topic, seq, of[4]);
    if (!PUT(text, "{\"kind\":\"tick\",\"order\":[") || !put_bytes(text, node) || !PUT(text, "],\"digest\":\"") ||
        !put_digest(text, self->digest) || !PUT(text, "\"") || !put_when(text, now_ns, tick) ||
        !has_room(self, text->length) || !put_line(feed, text->bytes, end)) {
        self->digest = before;
        return 0;
    }
    if (!put_line(scheduler, text->bytes + end, text->length - end)) {
        PyByteArray_Resize(feed->text, PyByteArray_Size(feed->text) - (Py_ssize_t)end); /* only shrinks */
        self->digest = before;
        return 0;
    }
    take_room(self, text->length);
    scheduler->ticks++;
    feed->ticks++;
    feed->outputs++;
    see(tally_of(feed, of[1]), tick, PyBytes_Size(of[4]));
    self->digest = 0;
    self->last_tick = tick;
    return 1;
}

static PyObject *maker_lone(Maker *self, PyObject *const *args, Py_ssize_t count) {
    if (lone_here(self, args, count)) Py_RETURN_TRUE;
    return PyErr_Occurred() ? NULL : call_method((PyObject *)self, "lone_slowly", args, count);
}

static PyObject *maker_tell(Maker *self, PyObject *record, int (*here)(Maker *, PyObject *), const char *slowly) {
    if (here(self, record)) Py_RETURN_NONE;
    return PyErr_Occurred() ? NULL : call_method((PyObject *)self, slowly, &record, 1);
}

static PyObject *maker_sent(Maker *self, PyObject *message) {
    return maker_tell(self, message, sent_here, "sent_slowly");
}

static PyObject *maker_executed(Maker *self, PyObject *execution) {
    return maker_tell(self, execution, executed_here, "executed_slowly");
}

static PyObject *maker_tick_ended(Maker *self, PyObject *end) {
    return maker_tell(self, end, tick_ended_here, "tick_ended_slowly");
}

static int maker_traverse(Maker *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->feeds);
    Py_VISIT(self->scheduler);
    Py_VISIT(self->room);
    return 0;
}

static int maker_clear(Maker *self) {
    Py_CLEAR(self->feeds);
    Py_CLEAR(self->scheduler);
    Py_CLEAR(self->room);
    return 0;
}

static void maker_dealloc(Maker *self) {
    PyObject_GC_UnTrack(self);
    maker_clear(self);
    PyMem_Free(self->text.bytes);
    free_object(self);
}

static PyMethodDef maker_methods[] = {
    {"sent", (PyCFunction)maker_sent, METH_O, "sent($self, message, /)\n--\n\nSee `LineMaker.sent_slowly`."},
    {"executed", (PyCFunction)maker_executed, METH_O,
     "executed($self, execution, /)\n--\n\nSee `LineMaker.executed_slowly`."},
    {"tick_ended", (PyCFunction)maker_tick_ended, METH_O,
     "tick_ended($self, end, /)\n--\n\nSee `LineMaker.tick_ended_slowly`."},
    {"lone", (PyCFunction)(void (*)(void))maker_lone, METH_FASTCALL,
     "lone($self, node, topic, seq, stamp_ns, payload, tick, now_ns, dt_ns, /)\n--\n\nSee `LineMaker.lone_slowly`."},
    {NULL},
};

static PyMemberDef maker_members[] = {
    {"feeds", T_OBJECT_EX, offsetof(Maker, feeds), 0, "Of the nodes, by name."},
    {"scheduler", T_OBJECT_EX, offsetof(Maker, scheduler), 0, "That of the scheduler's file."},
    {"room", T_OBJECT, offsetof(Maker, room), 0, "Where the text finds room; None if it has room."},
    {"waiting", T_LONGLONG, offsetof(Maker, waiting), 0, "Messages that no line holds yet."},
    {"last_tick", T_LONGLONG, offsetof(Maker, last_tick), 0, "The last that ended."},
    {"longest", T_LONGLONG, offsetof(Maker, longest), 0, "Bytes of a line; what a longer one holds has to be counted."},
    {"digest", T_UINT, offsetof(Maker, digest), 0, "Of the tick that goes on."},
    {NULL},
};

static PyType_Slot maker_slots[] = {
    {Py_tp_doc, "What a recorder is told, made into lines."},
    {Py_tp_traverse, maker_traverse},
    {Py_tp_clear, maker_clear},
    {Py_tp_dealloc, maker_dealloc},
    {Py_tp_methods, maker_methods},
    {Py_tp_members, maker_members},
    {0, NULL},
};

static PyType_Spec maker_spec = {"horus_async._native.LineMakerCore", sizeof(Maker), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, maker_slots};

/* ---- Intake ---- */

enum { RECORD_COST = 1000 }; /* see `intake.py` */

typedef struct {
    PyObject_HEAD
    PyObject *room;   /* a Room */
    PyObject *append; /* of the queue */
    long long last_tick;
} Intake;

/* Puts a record that costs so much into the queue, or has Python do it where that finds no room at once. */
static PyObject *take_in(Intake *self, PyObject *record, Py_ssize_t cost, const char *slowly) {
    Room *room = (Room *)self->room;
    if (cost < 0 || self->append == NULL || self->room == NULL || !PyObject_TypeCheck(self->room, room_type) ||
        room->left < cost)
        return call_method((PyObject *)self, slowly, &record, 1);
    PyObject *done = PyObject_CallFunctionObjArgs(self->append, record, NULL);
    if (done != NULL) room->left -= cost; /* of C, and takes from the queue nowhere: nobody came in between */
    return done;
}

static PyObject *intake_sent(Intake *self, PyObject *message) {
    PyObject *of[7];
    int is_usual = unpack(message, of, 7) && PyBytes_CheckExact(of[4]);
    return take_in(self, message, is_usual ? RECORD_COST + PyBytes_Size(of[4]) : -1, "sent_slowly");
}

static PyObject *intake_executed(Intake *self, PyObject *execution) {
    return take_in(self, execution, RECORD_COST, "executed_slowly");
}

static PyObject *intake_tick_ended(Intake *self, PyObject *end) {
    PyObject *of[4];
    int64_t tick;
    int is_usual = unpack(end, of, 4) && is_number(of[0], &tick);
    if (is_usual) self->last_tick = tick;
    return take_in(self, end, is_usual ? RECORD_COST : -1, "tick_ended_slowly");
}

static int intake_traverse(Intake *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->room);
    Py_VISIT(self->append);
    return 0;
}

static int intake_clear(Intake *self) {
    Py_CLEAR(self->room);
    Py_CLEAR(self->append);
    return 0;
}

static void intake_dealloc(Intake *self) {
    PyObject_GC_UnTrack(self);
    intake_clear(self);
    free_object(self);
}

static PyMethodDef intake_methods[] = {
    {"sent", (PyCFunction)intake_sent, METH_O, "sent($self, message, /)\n--\n\nSee `Intake.sent_slowly`."},
    {"executed", (PyCFunction)intake_executed, METH_O,
     "executed($self, execution, /)\n--\n\nSee `Intake.executed_slowly`."},
    {"tick_ended", (PyCFunction)intake_tick_ended, METH_O,
     "tick_ended($self, end, /)\n--\n\nSee `Intake.tick_ended_slowly`."},
    {NULL},
};

static PyMemberDef intake_members[] = {
    {"room", T_OBJECT_EX, offsetof(Intake, room), 0, "What the records find room in."},
    {"append", T_OBJECT_EX, offsetof(Intake, append), 0, "Puts a record into the queue."},
    {"last_tick", T_LONGLONG, offsetof(Intake, last_tick), 0, "The last that ended."},
    {NULL},
};

static PyType_Slot intake_slots[] = {
    {Py_tp_doc, "Takes records for another thread."},
    {Py_tp_traverse, intake_traverse},
    {Py_tp_clear, intake_clear},
    {Py_tp_dealloc, intake_dealloc},
    {Py_tp_methods, intake_methods},
    {Py_tp_members, intake_members},
    {0, NULL},
};

static PyType_Spec intake_spec = {"horus_async._native.IntakeCore", sizeof(Intake), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, intake_slots};

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *names) {
    Py_INCREF(names);
    Py_XDECREF(quoted);
    quoted = names;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"connect_lines", connect, METH_O, "connect_lines(quoted, /)\n--\n\nThe dict of names as JSON strings."},
    {NULL},
};

int add_lines(PyObject *module) {
    prepare_sums();
    if (PyModule_AddFunctions(module, functions) < 0) return -1;
    tally_type = add_type(module, &tally_spec);
    room_type = add_type(module, &room_spec);
    feed_type = add_type(module, &feed_spec);
    maker_type = add_type(module, &maker_spec);
    if (add_type(module, &intake_spec) == NULL) return -1;
    return tally_type == NULL || room_type == NULL || feed_type == NULL || maker_type == NULL ? -1 : 0;
}
