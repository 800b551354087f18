/* The way of a value through a topic: `topics/core.py`, whose classes these are. */
#include "native.h"

static PyTypeObject *channel_type, *glance_type;
PyTypeObject *publisher_type, *subscriber_type;
static PyObject *topic_error;
static PyObject *exact; /* classes of which nothing is packed but what is as annotated */

/* ---- Channel ---- */

typedef struct {
    PyObject_HEAD
    PyObject *watchers; /* a tuple of what is to be called after each message */
    PyObject *glance;   /* looks for rings of other processes; None if nobody listens to them */
} Channel;

static int channel_traverse(Channel *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->watchers);
    Py_VISIT(self->glance);
    return 0;
}

static int channel_clear(Channel *self) {
    Py_CLEAR(self->watchers);
    Py_CLEAR(self->glance);
    return 0;
}

static void channel_dealloc(Channel *self) {
    PyObject_GC_UnTrack(self);
    channel_clear(self);
    free_object(self);
}

static PyMemberDef channel_members[] = {
    {"watchers", T_OBJECT_EX, offsetof(Channel, watchers), 0, "Called after each message: a tuple."},
    {"glance", T_OBJECT, offsetof(Channel, glance), 0, "Looks for rings of other processes, or None."},
    {NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, "Where the buses of a process meet on one topic."},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_members, channel_members},
    {0, NULL},
};

static PyType_Spec channel_spec = {"horus_async._native.ChannelCore", sizeof(Channel), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, channel_slots};

static int call_watchers(Channel *channel) {
    PyObject *watchers = channel->watchers;
    Py_ssize_t count = watchers == NULL ? 0 : PyTuple_Size(watchers);
    if (count <= 0) return (int)count;
    Py_INCREF(watchers); /* it may be replaced meanwhile */
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *done = PyObject_CallNoArgs(PyTuple_GetItem(watchers, i));
        Py_XDECREF(done);
        if (done == NULL) break;
    }
    Py_DECREF(watchers);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- Glance ---- */

typedef struct {
    PyObject_HEAD
    int64_t next_glance; /* ns of the monotonic clock */
} Glance;

static PyObject *glance_glance(Glance *self, PyObject *Py_UNUSED(none)) {
    if (now_ns(PYTHONS_MONOTONIC) < self->next_glance) Py_RETURN_FALSE;
    return call_method((PyObject *)self, "glance_now", NULL, 0);
}

/* Whether there is nothing to be looked for now. */
static int is_quiet(PyObject *glance) {
    if (glance == NULL || glance == Py_None) return 1;
    if (!PyCFunction_CheckExact(glance) || PyCFunction_GetFunction(glance) != (PyCFunction)glance_glance) return 0;
    return now_ns(PYTHONS_MONOTONIC) < ((Glance *)PyCFunction_GetSelf(glance))->next_glance;
}

static void glance_dealloc(Glance *self) { free_object(self); }

static PyMethodDef glance_methods[] = {
    {"glance", (PyCFunction)glance_glance, METH_NOARGS,
     "glance($self, /)\n--\n\nCall `glance_now` unless that was done just now; False if it was not called."},
    {NULL},
};

static PyMemberDef glance_members[] = {
    {"next_glance", T_LONGLONG, offsetof(Glance, next_glance), 0, "When to look again, ns of the monotonic clock."},
    {NULL},
};

static PyType_Slot glance_slots[] = {
    {Py_tp_doc, "Looks for something now and then."},
    {Py_tp_dealloc, glance_dealloc},
    {Py_tp_methods, glance_methods},
    {Py_tp_members, glance_members},
    {0, NULL},
};

static PyType_Spec glance_spec = {"horus_async._native.GlanceCore", sizeof(Glance), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, glance_slots};

/* ---- Publisher ---- */

typedef struct {
    PyObject_HEAD
    PyObject *ring; /* a Writer, or None before the first message */
    Channel *channel;
    PyObject *free;  /* the list of the ring's turn */
    uint64_t number; /* in the ring's table */
    uint64_t next_seq;
} Publisher;

/* Whether the message was written here: where nothing is in the way. */
static int publish_here(Publisher *self, PyObject *payload, int64_t stamp_ns, uint64_t seq, int64_t order_ns) {
    char *bytes;
    Py_ssize_t length;
    if (seq == UINT64_MAX || !PyBytes_CheckExact(payload) || self->ring == NULL || self->free == NULL || self->channel == NULL ||
        !PyObject_TypeCheck(self->ring, writer_type) || PyList_GetItem(self->free, 0) != Py_True ||
        PyBytes_AsStringAndSize(payload, &bytes, &length) < 0 ||
        !write_record((Writer *)self->ring, bytes, (uint64_t)length, (uint32_t)self->number, seq, stamp_ns, order_ns))
        return 0;
    self->next_seq = seq + 1;
    return 1;
}

/* Wakes everybody who waits for a message that was written just now. */
static int wake(Publisher *self) {
    /* Who falls asleep stores SLEEPERS and then looks at LATEST: one of the two must see the other's store. */
    atomic_thread_fence(memory_order_seq_cst);
    int sleepers = atomic_load_explicit(word(&((Writer *)self->ring)->mapped, SLEEPERS), memory_order_relaxed) != 0;
    if (call_watchers(self->channel) < 0) return -1;
    if (sleepers) {
        PyObject *done = call_method((PyObject *)self, "wake_sleepers", NULL, 0);
        Py_XDECREF(done);
        return done == NULL ? -1 : 0;
    }
    return 0;
}

PyObject *publish_payload(PyObject *publisher, PyObject *payload, int64_t stamp_ns, int64_t order_ns) {
    Publisher *self = (Publisher *)publisher;
    uint64_t seq = self->next_seq;
    if (publish_here(self, payload, stamp_ns, seq, order_ns))
        return wake(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(seq);
    return PyObject_CallMethod(publisher, "publish_slowly", "OLOL", payload, (long long)stamp_ns, Py_None,
                               (long long)order_ns);
}

static PyObject *publisher_publish(Publisher *self, PyObject *const *args, Py_ssize_t count) {
    if (count >= 2 && count <= 4) {
        int64_t stamp_ns = PyLong_AsLongLong(args[1]);
        uint64_t seq = count > 2 && args[2] != Py_None ? PyLong_AsUnsignedLongLong(args[2]) : self->next_seq;
        int64_t order_ns = count > 3 && args[3] != Py_None ? PyLong_AsLongLong(args[3]) : stamp_ns;
        if (PyErr_Occurred()) {
            PyErr_Clear(); /* Python says what is wrong with them */
        } else if (publish_here(self, args[0], stamp_ns, seq, order_ns)) {
            return wake(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(seq);
        }
    }
    return call_method((PyObject *)self, "publish_slowly", args, count);
}

static int publisher_traverse(Publisher *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->ring);
    Py_VISIT((PyObject *)self->channel);
    Py_VISIT(self->free);
    return 0;
}

static int publisher_clear(Publisher *self) {
    Py_CLEAR(self->ring);
    Py_CLEAR(self->channel);
    Py_CLEAR(self->free);
    return 0;
}

static void publisher_dealloc(Publisher *self) {
    PyObject_GC_UnTrack(self);
    publisher_clear(self);
    free_object(self);
}

static PyObject *publisher_meet(Publisher *self, PyObject *args) {
    PyObject *channel, *free;
    if (!PyArg_ParseTuple(args, "O!O!", channel_type, &channel, &PyList_Type, &free)) return NULL;
    Py_INCREF(channel);
    Py_INCREF(free);
    Py_XDECREF((PyObject *)self->channel);
    Py_XDECREF(self->free);
    self->channel = (Channel *)channel;
    self->free = free;
    Py_RETURN_NONE;
}

static PyMethodDef publisher_methods[] = {
    {"meet", (PyCFunction)publisher_meet, METH_VARARGS,
     "meet($self, channel, free, /)\n--\n\nSay where its messages are heard, and whose turn it is to write."},
    {"publish", (PyCFunction)(void (*)(void))publisher_publish, METH_FASTCALL,
     "publish($self, payload, stamp_ns, seq=None, order_ns=None, /)\n--\n\nSee `Publisher.publish_slowly`."},
    {NULL},
};

static PyMemberDef publisher_members[] = {
    {"ring", T_OBJECT, offsetof(Publisher, ring), 0, "The ring that it writes; None before the first message."},
    {"channel", T_OBJECT_EX, offsetof(Publisher, channel), READONLY, "Where its messages are heard."},
    {"free", T_OBJECT_EX, offsetof(Publisher, free), READONLY, "Of the turn: its one item is True if nobody has it."},
    {"number", T_ULONGLONG, offsetof(Publisher, number), 0, "Its number in the ring's table."},
    {"next_seq", T_ULONGLONG, offsetof(Publisher, next_seq), 0, "The sequence number of its next message."},
    {NULL},
};

static PyType_Slot publisher_slots[] = {
    {Py_tp_doc, "The way of a publisher's messages into the ring."},
    {Py_tp_traverse, publisher_traverse},
    {Py_tp_clear, publisher_clear},
    {Py_tp_dealloc, publisher_dealloc},
    {Py_tp_methods, publisher_methods},
    {Py_tp_members, publisher_members},
    {0, NULL},
};

static PyType_Spec publisher_spec = {"horus_async._native.PublisherCore", sizeof(Publisher), 0,
                                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, publisher_slots};

/* ---- Subscriber ---- */

typedef struct {
    PyObject_HEAD
    PyObject *channel; /* a Channel */
    PyObject *only;    /* a Reader, or None if there is not just one */
    char closed;
} Subscriber;

/* The next message, None, or NULL and an exception. */
static PyObject *take(Subscriber *self) {
    if (!self->closed && self->only != NULL && self->channel != NULL && PyObject_TypeCheck(self->only, reader_type) &&
        PyObject_TypeCheck(self->channel, channel_type) && is_quiet(((Channel *)self->channel)->glance)) {
        PyObject *message = take_here((Reader *)self->only);
        if (message != NULL || PyErr_Occurred()) return message;
    }
    return call_method((PyObject *)self, "take_slowly", NULL, 0);
}

PyObject *take_message(PyObject *subscriber) { return take((Subscriber *)subscriber); }

static PyObject *subscriber_take(Subscriber *self, PyObject *Py_UNUSED(none)) { return take(self); }

static int subscriber_traverse(Subscriber *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->channel);
    Py_VISIT(self->only);
    return 0;
}

static int subscriber_clear(Subscriber *self) {
    Py_CLEAR(self->channel);
    Py_CLEAR(self->only);
    return 0;
}

static void subscriber_dealloc(Subscriber *self) {
    PyObject_GC_UnTrack(self);
    subscriber_clear(self);
    free_object(self);
}

static PyMethodDef subscriber_methods[] = {
    {"take", (PyCFunction)subscriber_take, METH_NOARGS, "take($self, /)\n--\n\nSee `Subscriber.take_slowly`."},
    {NULL},
};

static PyMemberDef subscriber_members[] = {
    {"channel", T_OBJECT_EX, offsetof(Subscriber, channel), 0, "Where the messages come from."},
    {"only", T_OBJECT, offsetof(Subscriber, only), 0, "The reader, if there is just one ring; else None."},
    {"closed", T_BOOL, offsetof(Subscriber, closed), 0, "Whether it was closed."},
    {NULL},
};

static PyType_Slot subscriber_slots[] = {
    {Py_tp_doc, "The way of messages to a subscriber."},
    {Py_tp_traverse, subscriber_traverse},
    {Py_tp_clear, subscriber_clear},
    {Py_tp_dealloc, subscriber_dealloc},
    {Py_tp_methods, subscriber_methods},
    {Py_tp_members, subscriber_members},
    {0, NULL},
};

static PyType_Spec subscriber_spec = {"horus_async._native.SubscriberCore", sizeof(Subscriber), 0,
                                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, subscriber_slots};

/* ---- Topic ---- */

typedef struct {
    PyObject_HEAD
    PyObject *type;       /* the only class of its values, or None */
    PyObject *publisher;  /* a Publisher, or None once closed */
    PyObject *forms;      /* of the publisher */
    PyObject *subscriber; /* a Subscriber */
} Topic;

static int is_typed(Topic *self) { return self->type != NULL && self->type != Py_None; }

/* Whether a value surely is of the topic's type, down to its fields: packing it, or reading it packed, was the check. */
static int is_checked(Topic *self, PyObject *value, PyObject *payload) {
    if (!is_typed(self)) return 1;
    if (type_of(value) != self->type || !PyBytes_CheckExact(payload) || PyBytes_Size(payload) < 2) return 0;
    const char *bytes = PyBytes_AsString(payload);
    return bytes[0] == 0 && bytes[1] == '$' && PySet_Contains(exact, self->type) == 1;
}

/* The one argument of a call that may be given by its name; NULL if there is none, or an exception. */
static PyObject *one_argument(const char *function, const char *name, PyObject *const *args, Py_ssize_t count,
                              PyObject *names) {
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    if (count + named > 1 || (named && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), name) != 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes one argument, %s", function, name);
        return NULL;
    }
    return count + named ? args[0] : NULL;
}

static PyObject *topic_send(Topic *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    PyObject *value = one_argument("send", "value", args, count, names);
    if (value == NULL) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "send() needs a value");
        return NULL;
    }
    if ((is_typed(self) && type_of(value) != self->type) || self->publisher == NULL ||
        !PyObject_TypeCheck(self->publisher, publisher_type))
        return call_method((PyObject *)self, "_send_slowly", &value, 1);
    PyObject *payload = encode_value(value, self->forms);
    if (payload == NULL) return NULL;
    if (!is_checked(self, value, payload)) {
        Py_DECREF(payload);
        return call_method((PyObject *)self, "_send_slowly", &value, 1);
    }
    Publisher *publisher = (Publisher *)self->publisher;
    int64_t stamp_ns = now_ns(CLOCK_REALTIME), order_ns = now_ns(PYTHONS_MONOTONIC);
    PyObject *seq = publish_payload((PyObject *)publisher, payload, stamp_ns, order_ns);
    Py_DECREF(payload);
    if (seq == NULL) return NULL;
    Py_DECREF(seq);
    Py_RETURN_NONE;
}

static PyObject *topic_recv(Topic *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    PyObject *otherwise = one_argument("recv", "default", args, count, names);
    if (otherwise == NULL) {
        if (PyErr_Occurred()) return NULL;
        otherwise = Py_None;
    }
    if (self->subscriber == NULL || !PyObject_TypeCheck(self->subscriber, subscriber_type)) {
        PyErr_SetString(PyExc_RuntimeError, "this topic was never opened");
        return NULL;
    }
    PyObject *message = take((Subscriber *)self->subscriber);
    if (message == NULL) return NULL;
    if (message == Py_None) {
        Py_INCREF(otherwise);
        Py_DECREF(message);
        return otherwise;
    }
    PyObject *value = decode_payload(PyTuple_GetItem(message, 0));
    if (value == NULL ? PyErr_ExceptionMatches(topic_error)
                      : !is_checked(self, value, PyTuple_GetItem(message, 0))) {
        PyErr_Clear();
        Py_XDECREF(value);
        value = call_method((PyObject *)self, "_value_of", &message, 1); /* says more */
    }
    Py_DECREF(message);
    return value;
}

static int topic_traverse(Topic *self, visitproc visit, void *arg) {
    Py_VISIT(type_of(self));
    Py_VISIT(self->type);
    Py_VISIT(self->publisher);
    Py_VISIT(self->forms);
    Py_VISIT(self->subscriber);
    return 0;
}

static int topic_clear(Topic *self) {
    Py_CLEAR(self->type);
    Py_CLEAR(self->publisher);
    Py_CLEAR(self->forms);
    Py_CLEAR(self->subscriber);
    return 0;
}

static void topic_dealloc(Topic *self) {
    PyObject_GC_UnTrack(self);
    topic_clear(self);
    free_object(self);
}

static PyMethodDef topic_methods[] = {
    {"send", (PyCFunction)(void (*)(void))topic_send, METH_FASTCALL | METH_KEYWORDS,
     "send($self, value)\n--\n\n"
     "Send a value to all listeners.\n\n"
     "Raises:\n"
     "    ValueNotSupportedError: no topic can carry it; names the type and where in the value it is.\n"
     "    TopicTypeError: not of this topic's type.\n"
     "    MessageTooLargeError: larger than any ring can hold.\n"
     "    TopicError: the handle is closed, or there is no shared memory left."},
    {"recv", (PyCFunction)(void (*)(void))topic_recv, METH_FASTCALL | METH_KEYWORDS,
     "recv($self, default=None)\n--\n\n"
     "The next unread value, or ``default`` if there is none.\n\n"
     "Raises:\n"
     "    MessageDecodeError: the next message is damaged; it is consumed.\n"
     "    TopicTypeError: the next message is not of this topic's type; it is consumed. A ``SchemaMismatchError`` if\n"
     "        its class has other fields where it was sent."},
    {NULL},
};

static PyMemberDef topic_members[] = {
    {"_type", T_OBJECT, offsetof(Topic, type), 0, "The only class of its values, or None."},
    {"_publisher", T_OBJECT, offsetof(Topic, publisher), 0, "None once closed."},
    {"_forms", T_OBJECT, offsetof(Topic, forms), 0, "Of the publisher."},
    {"_subscriber", T_OBJECT, offsetof(Topic, subscriber), 0, "Where it reads."},
    {NULL},
};

static PyType_Slot topic_slots[] = {
    {Py_tp_doc, "Values in, values out."},
    {Py_tp_traverse, topic_traverse},
    {Py_tp_clear, topic_clear},
    {Py_tp_dealloc, topic_dealloc},
    {Py_tp_methods, topic_methods},
    {Py_tp_members, topic_members},
    {0, NULL},
};

static PyType_Spec topic_spec = {"horus_async._native.TopicCore", sizeof(Topic), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, topic_slots};

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *error, *classes;
    if (!PyArg_ParseTuple(args, "OO!", &error, &PySet_Type, &classes)) return NULL;
    Py_INCREF(error);
    Py_INCREF(classes);
    Py_XDECREF(topic_error);
    Py_XDECREF(exact);
    topic_error = error;
    exact = classes;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"connect_topics", connect, METH_VARARGS,
     "connect_topics(error, exact)\n--\n\nWhat is raised for messages that are none; classes whose packed form is a check."},
    {NULL},
};

int add_topics(PyObject *module) {
    channel_type = add_type(module, &channel_spec);
    glance_type = channel_type == NULL ? NULL : add_type(module, &glance_spec);
    publisher_type = glance_type == NULL ? NULL : add_type(module, &publisher_spec);
    subscriber_type = publisher_type == NULL ? NULL : add_type(module, &subscriber_spec);
    return subscriber_type == NULL || add_type(module, &topic_spec) == NULL ? -1 : PyModule_AddFunctions(module, functions);
}
