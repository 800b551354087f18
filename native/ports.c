/* What the messages of a node's tick pass through: `PortsCore` of `engine/core/state.py`, and the hot paths of
 * `engine/ports.py`: `send` and `recv` are its `send_slowly` and `recv_slowly`. */
#include "engine.h"

PyTypeObject *ports_type;

/* Given by `connect_ports`: a context variable's `get`, and classes. */
static PyObject *current_get, *tick_context, *still_pace, *sent_class, *received_class, *topic_error;

enum { FORMS, BASE_NS, DIAL, SENT, READER, SOURCE, TOOK, TELL, SEND_SLOWLY, RECV_SLOWLY, NAMES };
static const char *const spelt[NAMES] = {
    "forms", "base_ns", "dial", "sent", "reader", "source", "_took", "tell", "send_slowly", "recv_slowly"};
static PyObject *names[NAMES];

int begin_callback(Ports *self, PyObject *tick) {
    PyObject *inputs = PyList_New(0);
    if (inputs == NULL) return -1;
    if (self->empty == NULL || PyDict_Size(self->empty) != 0) {
        PyObject *empty = PyDict_New();
        if (empty == NULL) {
            Py_DECREF(inputs);
            return -1;
        }
        assign(&self->empty, empty);
    }
    assign_shared(&self->began, tick);
    assign(&self->inputs, inputs);
    assign_shared(&self->looks, Py_None);
    return 0;
}

void end_callback(Ports *self) { assign_shared(&self->began, Py_None); }

/* ---- Sending ---- */

/* Whether this is a callback of the ports' own node. */
static int in_callback(Ports *self) {
    PyObject *context = PyObject_CallFunctionObjArgs(current_get, Py_None, NULL);
    if (context == NULL) {
        PyErr_Clear(); /* Python asks again */
        return 0;
    }
    int is = type_of(context) == tick_context && ((Context *)context)->node == self->node;
    Py_DECREF(context);
    return is;
}

/* The time for a message in virtual time: `Runtime.stamp_ns`; -1 where it has to be asked. */
static int virtual_stamp(Ports *self, int64_t *stamp_ns) {
    PyObject *pace = is_a(self->run, plan_type) ? ((Plan *)self->run)->pace : NULL;
    if (!is_a(pace, (PyTypeObject *)still_pace) || self->time_of_day == NULL) return -1;
    PyObject *base = PyObject_GetAttr(self->time_of_day, names[BASE_NS]), *offset = ((Pace *)pace)->offset_ns;
    int64_t base_ns = base == NULL ? -1 : PyLong_AsLongLong(base);
    int64_t offset_ns = PyErr_Occurred() || offset == NULL ? -1 : PyLong_AsLongLong(offset);
    Py_XDECREF(base);
    if (!PyErr_Occurred() && offset != NULL && !__builtin_add_overflow(offset_ns, base_ns, stamp_ns)) return 0;
    PyErr_Clear();
    return -1;
}

/* Stamp and moment of a message in real time, and the tick (a new reference) that it belongs to; -1 if there is more to it. */
static int real_stamp(Ports *self, PyObject **tick, int64_t *stamp_ns, int64_t *order_ns) {
    PyObject *dial = self->time_of_day == NULL ? NULL : PyObject_GetAttr(self->time_of_day, names[DIAL]);
    int found = 0;
    if (dial != NULL && PyTuple_Check(dial) && PyTuple_Size(dial) == 3 && PyTuple_GetItem(dial, 1) != Py_None) {
        int64_t shift_ns = PyLong_AsLongLong(PyTuple_GetItem(dial, 1));
        *order_ns = now_ns(PYTHONS_MONOTONIC);
        if (!(shift_ns == -1 && PyErr_Occurred()) && !__builtin_add_overflow(*order_ns, shift_ns, stamp_ns)) {
            *tick = PyTuple_GetItem(dial, 0);
            Py_INCREF(*tick);
            found = 1;
        }
    }
    Py_XDECREF(dial);
    if (found) return 0;
    PyErr_Clear();
    return -1;
}

static inline int hears(Ports *self) { return ((Audience *)self->audience)->hears_messages; }

/* Whether this is the event loop's thread; -1 and an exception if that cannot be told. */
static int is_here(Ports *self) {
    PyObject *thread = ((Audience *)self->audience)->thread;
    unsigned long number = thread == NULL ? 0 : PyLong_AsUnsignedLong(thread);
    return PyErr_Occurred() ? -1 : number == PyThread_get_thread_ident();
}

/* Tells of a message: `Ports.tell`. */
static PyObject *tell(Ports *self, PyObject *topic, PyObject *seq, PyObject *stamp, PyObject *payload, PyObject *tick) {
    int here = PyBytes_CheckExact(payload) && !self->has_work && is_a(self->run, plan_type) ? is_here(self) : 0;
    if (here < 0) return NULL;
    if (!here) {
        PyObject *method = PyObject_GetAttr((PyObject *)self, names[TELL]);
        if (method == NULL) return NULL;
        PyObject *told = PyObject_CallFunctionObjArgs(method, topic, seq, stamp, payload, tick == NULL ? Py_None : tick, NULL);
        Py_DECREF(method);
        return told;
    }
    PyObject *items[] = {self->node, topic, seq, stamp, payload, tick, self->began == NULL ? Py_None : self->began};
    if (tick == NULL) items[5] = ((Plan *)self->run)->tick;
    for (int i = 0; i < 7; i++) Py_XINCREF(items[i]);
    PyObject *message = make_tuple(sent_class, items, 7);
    PyObject *told = message == NULL ? NULL : call_named(self->audience, names[SENT], message, NULL, NULL);
    Py_XDECREF(message);
    return told;
}

/* Encodes, publishes and tells; NULL without an exception where Python has to do it. */
static PyObject *send(Ports *self, PyObject *topic, PyObject *value, PyObject *publisher) {
    PyObject *forms = PyObject_GetAttr(publisher, names[FORMS]), *tick = NULL, *done = NULL;
    if (forms == NULL) return NULL;
    PyObject *payload = encode_value(value, forms);
    Py_DECREF(forms);
    if (payload == NULL) return NULL;
    int64_t stamp_ns = 0, order_ns = 0;
    if ((self->own_time ? virtual_stamp(self, &stamp_ns) : real_stamp(self, &tick, &stamp_ns, &order_ns)) == 0) {
        PyObject *seq = publish_payload(publisher, payload, stamp_ns, self->own_time ? stamp_ns : order_ns);
        if (seq != NULL && hears(self)) {
            PyObject *stamp = PyLong_FromLongLong(stamp_ns);
            if (stamp != NULL) done = tell(self, topic, seq, stamp, payload, tick);
            Py_XDECREF(stamp);
        } else if (seq != NULL) {
            done = Py_None;
            Py_INCREF(done);
        }
        Py_XDECREF(seq);
        Py_XDECREF(tick);
    }
    Py_DECREF(payload);
    return done;
}

static PyObject *ports_send(Ports *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "send() takes a topic and a value");
        return NULL;
    }
    if (!self->has_work && self->publishers != NULL && is_a(self->audience, audience_type) && (!self->guarded || in_callback(self))) {
        PyObject *publisher = PyDict_GetItemWithError(self->publishers, args[0]), *done = NULL;
        if (publisher != NULL && PyObject_TypeCheck(publisher, publisher_type)) {
            Py_INCREF(publisher);
            done = send(self, args[0], args[1], publisher);
            Py_DECREF(publisher);
        }
        if (done != NULL || PyErr_Occurred()) return done;
    }
    return call_named((PyObject *)self, names[SEND_SLOWLY], args[0], args[1], NULL);
}

/* ---- Receiving ---- */

/* How often nothing was found on a topic since something was: a new reference, 0 at first. */
static PyObject *times_empty(Ports *self, PyObject *topic) {
    PyObject *times = PyDict_GetItemWithError(self->empty, topic);
    if (times == NULL) return PyErr_Occurred() ? NULL : PyLong_FromLong(0);
    Py_INCREF(times);
    return times;
}

static int note_nothing(Ports *self, PyObject *topic) {
    PyObject *times = times_empty(self, topic), *more = NULL;
    if (times != NULL) {
        long long before = PyLong_AsLongLong(times);
        if (!PyErr_Occurred()) more = PyLong_FromLongLong(before + 1);
        Py_DECREF(times);
    }
    int noted = more == NULL ? -1 : PyDict_SetItem(self->empty, topic, more);
    Py_XDECREF(more);
    return noted;
}

/* Whether a message is of this run, by the ring it was read from. */
static int is_own(Ports *self, PyObject *reader) {
    if (reader == Py_None) return 1;
    PyObject *source = PyObject_GetAttr(reader, names[SOURCE]);
    if (source == NULL) return -1;
    int own = PySet_Contains(self->own, source);
    Py_DECREF(source);
    return own;
}

/* Notes what was taken: `Ports._took`. */
static int note_taken(Ports *self, PyObject *topic, PyObject *taken, PyObject *subscriber) {
    PyObject *reader = PyObject_GetAttr(subscriber, names[READER]);
    int noted = -1, own = reader == NULL ? -1 : is_own(self, reader);
    if (own == 0 || (own > 0 && (self->has_work || self->began == NULL || self->began == Py_None))) {
        PyObject *done = call_named((PyObject *)self, names[TOOK], topic, taken, reader);
        noted = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    } else if (own > 0) {
        PyObject *items[] = {topic, PyTuple_GetItem(taken, 1), PyTuple_GetItem(taken, 2), PyLong_FromLong(0),
                             times_empty(self, topic)};
        for (int i = 0; i < 3; i++) Py_INCREF(items[i]);
        int found = items[4] != NULL && PyObject_IsTrue(items[4]) == 1;
        PyObject *message = make_tuple(received_class, items, 5);
        if (message != NULL && (!found || PyDict_DelItem(self->empty, topic) == 0))
            noted = PyList_Append(self->inputs, message);
        Py_XDECREF(message);
    }
    Py_XDECREF(reader);
    return noted;
}

/* The next unread value, or what was given for none. */
static PyObject *recv(Ports *self, PyObject *topic, PyObject *otherwise, PyObject *subscriber) {
    PyObject *taken = take_message(subscriber), *value = NULL;
    if (taken == NULL) return NULL;
    if (taken == Py_None) {
        if (!hears(self) || note_nothing(self, topic) == 0) {
            value = otherwise;
            Py_INCREF(value);
        }
    } else {
        value = decode_payload(PyTuple_GetItem(taken, 0));
        if (value == NULL && PyErr_ExceptionMatches(topic_error)) {
            PyErr_Clear();
            value = call_named((PyObject *)self, names[RECV_SLOWLY], topic, otherwise, taken); /* what is wrong with it */
        } else if (value != NULL && hears(self) && note_taken(self, topic, taken, subscriber) < 0) {
            Py_CLEAR(value);
        }
    }
    Py_DECREF(taken);
    return value;
}

static PyObject *ports_recv(Ports *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "recv() takes a topic and what to give if there is no message");
        return NULL;
    }
    if (self->subscribers != NULL && is_a(self->audience, audience_type) && self->empty != NULL && self->inputs != NULL && self->own != NULL) {
        PyObject *subscriber = PyDict_GetItemWithError(self->subscribers, args[0]);
        if (subscriber != NULL && PyObject_TypeCheck(subscriber, subscriber_type)) {
            Py_INCREF(subscriber);
            PyObject *value = recv(self, args[0], args[1], subscriber);
            Py_DECREF(subscriber);
            return value;
        }
        if (PyErr_Occurred()) return NULL;
    }
    return call_named((PyObject *)self, names[RECV_SLOWLY], args[0], args[1], NULL);
}

/* ---- The type ---- */

static PyObject *ports_begin(Ports *self, PyObject *tick) {
    if (begin_callback(self, tick) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *ports_end(Ports *self, PyObject *Py_UNUSED(none)) {
    end_callback(self);
    Py_RETURN_NONE;
}

static int ports_init(Ports *self, PyObject *args, PyObject *named) {
    static char *none[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, named, "", none)) return -1;
    PyObject *publishers = PyDict_New(), *subscribers = PyDict_New();
    if (publishers == NULL || subscribers == NULL || begin_callback(self, Py_None) < 0) {
        Py_XDECREF(publishers);
        Py_XDECREF(subscribers);
        return -1;
    }
    assign(&self->publishers, publishers);
    assign(&self->subscribers, subscribers);
    return 0;
}

#define EACH(DO)                                                                                                 \
    DO(node) DO(run) DO(audience) DO(time_of_day) DO(own) DO(publishers) DO(subscribers) DO(began) DO(inputs) \
    DO(looks) DO(empty)
HOLDS(Ports, ports, EACH)

static PyMethodDef ports_methods[] = {
    {"begin", (PyCFunction)ports_begin, METH_O, "begin($self, tick, /)\n--\n\nA callback begins, in that scheduler tick."},
    {"end", (PyCFunction)ports_end, METH_NOARGS, "end($self, /)\n--\n\nThe callback has ended."},
    {"send", (PyCFunction)(void (*)(void))ports_send, METH_FASTCALL,
     "send($self, topic, value, /)\n--\n\nEncode a value, publish it, and tell of it."},
    {"recv", (PyCFunction)(void (*)(void))ports_recv, METH_FASTCALL,
     "recv($self, topic, default, /)\n--\n\nThe next unread value, or `default`."},
    {NULL},
};

#define OBJECT(name, field, doc) {name, T_OBJECT_EX, offsetof(Ports, field), 0, doc}

static PyMemberDef ports_members[] = {
    OBJECT("_node", node, "The name of the node."),
    OBJECT("_run", run, "The run."),
    OBJECT("_audience", audience, "Those who watch it."),
    OBJECT("_time_of_day", time_of_day, "The time of day in it."),
    OBJECT("began", began, "The scheduler tick in which the running callback began; None while none is going on."),
    OBJECT("looks", looks, "What the running callback saw without taking it."),
    {"_own", T_OBJECT_EX, offsetof(Ports, own), 0, "The rings of this run: a set."},
    {"_publishers", T_OBJECT_EX, offsetof(Ports, publishers), READONLY, "By topic."},
    {"_subscribers", T_OBJECT_EX, offsetof(Ports, subscribers), READONLY, "By topic."},
    {"inputs", T_OBJECT_EX, offsetof(Ports, inputs), READONLY, "What the running callback took."},
    {"_empty", T_OBJECT_EX, offsetof(Ports, empty), READONLY, "How often it found nothing, by topic."},
    {"_own_time", T_BOOL, offsetof(Ports, own_time), 0, "Whether messages are in the order of their stamps."},
    {"_has_work", T_BOOL, offsetof(Ports, has_work), 0, "Whether the node has tasks or threads of its own."},
    {"guarded", T_BOOL, offsetof(Ports, guarded), 0, "Whether only the node's own callbacks may send without a word."},
    {NULL},
};

static PyType_Slot ports_slots[] = {
    {Py_tp_doc, "What the messages of a node's tick pass through."},
    {Py_tp_init, ports_init},
    HOLDING(ports),
    {Py_tp_methods, ports_methods},
    {Py_tp_members, ports_members},
    {0, NULL},
};

static PyType_Spec ports_spec = {"horus_async._native.PortsCore", sizeof(Ports), 0, GC_BASE, ports_slots};

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *variable, *context, *pace, *sent, *received, *error;
    if (!PyArg_ParseTuple(args, "OO!O!O!O!O", &variable, &PyType_Type, &context, &PyType_Type, &pace, &PyType_Type, &sent,
                          &PyType_Type, &received, &error))
        return NULL;
    PyObject *get = PyObject_GetAttrString(variable, "get");
    if (get == NULL) return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)context, context_type) || !PyType_IsSubtype((PyTypeObject *)pace, pace_type)) {
        Py_DECREF(get);
        PyErr_SetString(PyExc_TypeError, "not a class of contexts, or of paces");
        return NULL;
    }
    assign(&current_get, get);
    assign_shared(&tick_context, context);
    assign_shared(&still_pace, pace);
    assign_shared(&sent_class, sent);
    assign_shared(&received_class, received);
    assign_shared(&topic_error, error);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"connect_ports", connect, METH_VARARGS,
     "connect_ports(current, context, pace, sent, received, error)\n--\n\nWhat ports look at and make."},
    {NULL},
};

int add_ports(PyObject *module) {
    for (int i = 0; i < NAMES; i++) {
        names[i] = PyUnicode_InternFromString(spelt[i]);
        if (names[i] == NULL) return -1;
    }
    ports_type = add_type(module, &ports_spec);
    return ports_type == NULL ? -1 : PyModule_AddFunctions(module, functions);
}
