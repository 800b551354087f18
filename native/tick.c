/* A scheduler tick's row of nodes: what `Planning._tick_pass`, `Runtime._go_on` and `Calling` do, where time is virtual and
 * a tick is as most are: due once, of a node that is well, and over when it returns. Of all others these have the last
 * word. */
#include "engine.h"

/* Given by `connect_ticks`. */
static PyObject *tick_kind, *running_state, *coroutine_type, *still_pace, *execution_class, *may_suspend, *step_class;

enum { ADVANCE, FINISH, GIVEN, LEAVE_OUT, EXECUTED, JUDGE, RECOVERED, REACHED, END_TICK, CODE, NAMES };
static const char *const spelt[NAMES] = {
    "advance", "_finish", "_given", "leave_out", "executed", "_judge", "_failed_or_recovered",
    "reached", "_end_tick", "cr_code"};
static PyObject *names[NAMES];

/* ---- One node ---- */

/* Calls the tick, and starts the coroutine that it gives. Called in the node's context. */
static PyObject *run_drive(Run *self, PyObject *Py_UNUSED(none)) {
    PyObject *callback = PyDict_GetItemWithError(self->callbacks, tick_kind), *trap = NULL;
    if (callback == NULL) return NULL;
    Py_INCREF(callback);
    PyObject *given = PyObject_CallNoArgs(callback);
    Py_DECREF(callback);
    if (given == NULL || given == Py_None) return given;
    if (type_of(given) != coroutine_type) {
        assign(&self->coroutine, given);
        self->given = 1;
        Py_RETURN_NONE;
    }
    if (!self->in_task) {
        PyObject *code = PyObject_GetAttr(given, names[CODE]);
        PyObject *may = code == NULL || code == self->settled ? NULL : PyObject_CallFunctionObjArgs(may_suspend, given, NULL);
        int stays = code != NULL && (code == self->settled || (may != NULL && PyObject_IsTrue(may) == 0));
        Py_XDECREF(may);
        if (stays) assign(&self->settled, code);
        else Py_XDECREF(code);
        if (!stays) {
            assign(&self->coroutine, given);
            self->waits = 1;
            if (PyErr_Occurred()) return NULL;
            Py_RETURN_NONE;
        }
    }
    switch (PyIter_Send(given, Py_None, &trap)) {
        case PYGEN_NEXT:
            assign(&self->coroutine, given);
            assign(&self->trap, trap);
            self->waits = 1;
            Py_RETURN_NONE;
        case PYGEN_RETURN:
            Py_DECREF(given);
            Py_XDECREF(trap);
            Py_RETURN_NONE;
        default:
            Py_DECREF(given);
            return NULL;
    }
}

PyMethodDef drive_method = {"_drive", (PyCFunction)run_drive, METH_NOARGS, "Call the tick."};

/* ---- A row of them ---- */

typedef struct {
    PyObject_HEAD
    PyObject *plan;      /* a Plan: the run */
    PyObject *step;      /* a `Step`: tick, at_ns, now_ns, now, elapsed, … */
    PyObject *order;     /* the nodes */
    PyObject *after;     /* the number of the next scheduler tick */
    PyObject *running;   /* whose tick is being called, or None */
    PyObject *pace;      /* a Pace */
    PyObject *offset_ns; /* where its time stands; NULL where Python has to do all */
    Py_ssize_t index;
} Row;

enum { OVER, LEFT, FAILED = -1 }; /* of a node: there is nothing more to do, it is for the plan, an exception */

static inline Plan *plan_of(Row *self) { return (Plan *)self->plan; }

/* Whether messages and callbacks are to be told of. */
static inline int hears(Row *self) { return ((Audience *)plan_of(self)->audience)->hears_messages; }

/* Whether something is to be done before the next node: tasks that have to settle, or safe states. */
static int is_something_up(Row *self) {
    Py_ssize_t waiting = PyObject_Size(plan_of(self)->interludes);
    return waiting < 0 ? FAILED : waiting || ((Pace *)self->pace)->suspended ? LEFT : OVER;
}

/* Whether a node's tick would be as most are. */
static int is_well(Row *self, Run *run) {
    return !run->by_hand && !run->busy && run->kind == tick_kind && !run->skips_next && !run->needs_init &&
           !plan_of(self)->aborted && run->on != NULL && PyList_Size(run->on) == 0 && is_a(run->failure, failure_type) &&
           ((Failure *)run->failure)->state == running_state && is_a(run->ports, ports_type) &&
           is_a(run->context, context_type) && is_a(run->durations, durations_type) && run->nominal_dt != NULL &&
           run->period_ns != NULL && run->callbacks != NULL && PyDict_Check(run->callbacks);
}

/* The clock of a tick that begins: `NodeRun.begin`, and what `Calling._call` does before and after. */
static int begin(Row *self, Run *run) {
    Context *context = (Context *)run->context;
    PyObject *tick = PyTuple_GetItem(self->step, 0), *at_ns = PyTuple_GetItem(self->step, 1);
    if (hears(self) &&
        (begin_callback((Ports *)run->ports, tick) < 0 || PyList_Append(plan_of(self)->began, run->name) < 0))
        return -1;
    int early = PyObject_RichCompareBool(self->offset_ns, at_ns, Py_LT);
    if (early < 0) return -1;
    assign_shared(&context->tick, tick);
    assign_shared(&context->seed_tick, tick);
    assign_shared(&context->now_ns, PyTuple_GetItem(self->step, 2));
    assign_shared(&context->now, PyTuple_GetItem(self->step, 3));
    assign_shared(&context->elapsed, PyTuple_GetItem(self->step, 4));
    assign_shared(&context->dt, run->nominal_dt);
    assign_shared(&run->dt_ns, run->period_ns);
    assign_shared(&run->began_ns, self->offset_ns);
    assign_shared(&run->last_ns, self->offset_ns);
    assign_shared(&run->due_ns, early ? self->offset_ns : at_ns);
    run->resumed = 0;
    run->started_ns = now_ns(PYTHONS_MONOTONIC);
    run->busy = 1; /* only now, as the watchdog goes by both */
    return 0;
}

static int done(PyObject *result) {
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *shared(PyObject *object) {
    if (object == NULL) object = Py_None;
    Py_INCREF(object);
    return object;
}

/* The exception that is being raised, which is not any more. */
static PyObject *caught(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL && value != NULL) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Tells of a tick that went well: `Calling._tell_executed`. */
static int tell_executed(Row *self, Run *run, PyObject *took) {
    Ports *ports = (Ports *)run->ports;
    Context *context = (Context *)run->context;
    PyObject *items[] = {shared(run->kind), shared(run->name), shared(context->tick), shared(context->now_ns),
                         shared(run->dt_ns), PyLong_FromLong(0), shared(ports->inputs), shared(NULL), shared(took),
                         shared(Py_False), shared(ports->looks), PyLong_FromLong(0)};
    PyObject *execution = make_tuple(execution_class, items, 12);
    if (execution == NULL) return -1;
    int told = done(call_named(plan_of(self)->audience, names[EXECUTED], execution, NULL, NULL));
    Py_DECREF(execution);
    if (told == 0) end_callback(ports);
    return told;
}

/* Tells those who listen to a node's ticks of one that went well: `Calling._tell_listeners`. */
static int tell_listeners(Row *self, Run *run, PyObject *took) {
    PyObject *listeners = shared(run->tick_listeners), *tick = ((Context *)run->context)->tick; /* replaced meanwhile */
    Py_ssize_t count = PyList_Size(listeners);
    int told = count < 0 ? -1 : 0;
    for (Py_ssize_t i = 0; told == 0 && i < count; i++) {
        PyObject *pair = PyList_GetItem(listeners, i), *observer, *listener;
        if (!PyArg_ParseTuple(pair, "OO", &observer, &listener)) {
            told = -1;
        } else if (done(PyObject_CallFunctionObjArgs(listener, tick, took, Py_True, NULL)) < 0) {
            /* An observer must not take the robot down. */
            PyObject *error = PyErr_ExceptionMatches(PyExc_Exception) ? caught() : NULL;
            told = error == NULL ? -1 : done(call_named(plan_of(self)->audience, names[LEAVE_OUT], observer, error, NULL));
            Py_XDECREF(error);
        }
    }
    Py_DECREF(listeners);
    return told;
}

/* Tells those who want to know that a tick went well. */
static int tell(Row *self, Run *run, int64_t took_ns) {
    int listeners = PyObject_IsTrue(run->tick_listeners);
    if (listeners <= 0 && !hears(self)) return listeners;
    PyObject *took = PyLong_FromLongLong(took_ns);
    if (took == NULL) return -1;
    int told = listeners ? tell_listeners(self, run, took) : 0;
    if (told == 0 && hears(self)) told = tell_executed(self, run, took);
    Py_DECREF(took);
    return told;
}

/* A tick has ended without waiting: `Calling._finish`, which takes over where more is to be done. */
static int finish(Row *self, Run *run, PyObject *error) {
    int64_t took_ns = now_ns(PYTHONS_MONOTONIC) - run->started_ns;
    if (error != Py_None || run->misuse != Py_None || run->by_hand)
        return done(call_named(self->plan, names[FINISH], (PyObject *)run, error, NULL));
    run->busy = 0;
    assign_shared(&run->coroutine, Py_None);
    assign_shared(&run->reported, Py_None);
    add_duration((Durations *)run->durations, took_ns);
    if (tell(self, run, took_ns) < 0) return -1;
    if ((run->deadline_ns != Py_None || run->budget_ns != Py_None || run->misses_in_a_row) &&
        done(call_named(self->plan, names[JUDGE], (PyObject *)run, Py_None, NULL)) < 0)
        return -1;
    if (!((Failure *)run->failure)->failures) return 0;
    PyObject *method = PyObject_GetAttr(self->plan, names[RECOVERED]);
    if (method == NULL) return -1;
    PyObject *recovered = PyObject_CallFunctionObjArgs(method, (PyObject *)run, tick_kind, Py_None, Py_None, NULL);
    Py_DECREF(method);
    return done(recovered);
}

/* A tick gave something else than a coroutine: `Calling._given`. */
static int look_at_given(Row *self, Run *run) {
    PyObject *given = shared(run->coroutine);
    assign_shared(&run->coroutine, Py_None);
    PyObject *coroutine = call_named(self->plan, names[GIVEN], (PyObject *)run, given, NULL);
    Py_DECREF(given);
    if (coroutine == NULL) return FAILED;
    int over = coroutine == Py_None;
    if (over) Py_DECREF(coroutine);
    else assign(&run->coroutine, coroutine); /* in a task it is still to be started */
    run->waits = !over && !run->in_task;
    return over ? OVER : LEFT;
}

/* Calls a tick: `Calling._call` and the rest of `Runtime._go_on`. */
static int call(Row *self, Run *run) {
    if (begin(self, run) < 0) return FAILED;
    run->given = 0;
    assign_shared(&self->running, (PyObject *)run);
    PyObject *result = PyObject_CallFunctionObjArgs(run->enter, run->drive, NULL);
    assign_shared(&self->running, Py_None);
    if (result != NULL) {
        Py_DECREF(result);
        if (run->waits) return LEFT;
        if (run->given) return look_at_given(self, run);
        return finish(self, run, Py_None) < 0 ? FAILED : OVER;
    }
    PyObject *error = caught();
    if (error == NULL) return FAILED;
    run->waits = 0;
    int finished = finish(self, run, error);
    Py_DECREF(error);
    return finished < 0 ? FAILED : OVER;
}

enum { NOT_DUE, DUE, UNCLEAR };

/* Whether a node is due once in this tick. */
static int is_due(Row *self, PyObject *schedule) {
    if (!is_a(schedule, schedule_type) || ((Schedule *)schedule)->next_tick == NULL) return UNCLEAR;
    Schedule *its = (Schedule *)schedule;
    PyObject *tick = PyTuple_GetItem(self->step, 0);
    int later = PyObject_RichCompareBool(its->next_tick, tick, Py_GT);
    if (later) return later < 0 ? FAILED : NOT_DUE;
    if (its->patient) return DUE;
    int now = its->even ? PyObject_RichCompareBool(its->next_tick, tick, Py_EQ) : 0;
    return now < 0 ? FAILED : now ? DUE : UNCLEAR;
}

static int advance(Row *self, Schedule *schedule) {
    if (!schedule->even)
        return done(call_named((PyObject *)schedule, names[ADVANCE], PyTuple_GetItem(self->step, 0), NULL, NULL));
    assign_shared(&schedule->done, self->after);
    assign_shared(&schedule->next_tick, self->after);
    return 0;
}

/* One node's turn in the scheduler tick. */
static int carry_out(Row *self, Run *run, PyObject *schedule) {
    int due;
    while ((due = is_due(self, schedule)) == DUE) {
        if (!is_well(self, run)) return LEFT;
        int left = advance(self, (Schedule *)schedule) < 0 ? FAILED : call(self, run);
        if (left == OVER) left = is_something_up(self);
        if (left == LEFT) run->called = 1;
        if (left != OVER) return left;
    }
    return due == NOT_DUE ? is_something_up(self) : due < 0 ? FAILED : LEFT;
}

/* Looks where the run stands: it may have gone on elsewhere meanwhile. */
static void look_around(Row *self) {
    Plan *plan = plan_of(self);
    int known = is_a(plan->pace, (PyTypeObject *)still_pace) && is_a(plan->audience, audience_type) && plan->began != NULL && PyList_Check(plan->began);
    assign_shared(&self->pace, known ? plan->pace : Py_None);
    assign(&self->offset_ns, known ? ((Pace *)plan->pace)->offset_ns : NULL);
    Py_XINCREF(self->offset_ns);
}

/* A whole number from 0 on that an object is; UINT64_MAX if it is none, or too large. */
static uint64_t whole(PyObject *object) {
    uint64_t number = object == NULL || !PyLong_Check(object) ? UINT64_MAX : PyLong_AsUnsignedLongLong(object);
    if (PyErr_Occurred()) PyErr_Clear();
    return number;
}

/* The next step of a timeline, which stays where it is: `RateTimeline.next_step`; NULL where Python has to look. */
static PyObject *next_step(Timeline *self) {
    uint64_t tick = whole(self->next), numerator = whole(self->numerator), denominator = whole(self->denominator), ns;
    uint64_t start_ns = whole(self->start_ns), end = self->end == Py_None ? UINT64_MAX : whole(self->end);
    if (tick >= ((uint64_t)1 << 53) || numerator == UINT64_MAX || !numerator || denominator == UINT64_MAX || start_ns > INT64_MAX ||
        (end == UINT64_MAX && self->end != Py_None) || tick >= end || __builtin_mul_overflow(tick, denominator, &ns) ||
        ns / numerator > (uint64_t)INT64_MAX - start_ns || self->rate == NULL || self->start == NULL)
        return NULL;
    ns /= numerator;
    double rate = PyFloat_AsDouble(self->rate), start = PyFloat_AsDouble(self->start), elapsed = (double)tick / rate;
    if (PyErr_Occurred()) return NULL;
    PyObject *items[] = {shared(self->next), PyLong_FromUnsignedLongLong(ns), PyLong_FromUnsignedLongLong(start_ns + ns),
                         PyFloat_FromDouble(start + elapsed), PyFloat_FromDouble(elapsed), PyLong_FromLong(0), shared(NULL)};
    return make_tuple(step_class, items, 7);
}

/* The number of the tick after that of a step. */
static PyObject *tick_after(PyObject *step) {
    PyObject *one = PyLong_FromLong(1), *after = one == NULL ? NULL : PyNumber_Add(PyTuple_GetItem(step, 0), one);
    Py_XDECREF(one);
    return after;
}

/* Begins a step to which time has come: `Planning._begin_step`. */
static int begin_step(Row *self, PyObject *step) {
    Plan *plan = plan_of(self);
    PyObject *after = tick_after(step);
    if (after == NULL) return -1;
    assign_shared(&((Timeline *)plan->timeline)->next, after);
    assign(&self->after, after);
    if (hears(self) && done(call_named(self->plan, names[END_TICK], NULL, NULL, NULL)) < 0) return -1;
    assign_shared(&plan->step, step);
    assign_shared(&plan->tick, PyTuple_GetItem(step, 0));
    plan->ticks++;
    plan->step_open = 1;
    plan->stirred = 0; /* what a loop sends back arrives in the next tick */
    assign_shared(&self->step, step);
    assign_shared(&self->order, plan->order);
    self->index = 0;
    look_around(self);
    return 0;
}

/* Goes on to the next scheduler tick if nothing is to be done before it: `Planning.whole_plan`. Returns whether it has. */
static int go_on(Row *self) {
    Plan *plan = plan_of(self);
    if (self->offset_ns == NULL || !plan->in_group || plan->in_steps || !plan->order_known || plan->aborted || !plan->step_open ||
        plan->collector != Py_None ||
        PyObject_IsTrue(plan->reason) || PyObject_Size(plan->before_step) || PyObject_Size(plan->at_step) ||
        PyObject_Size(plan->interludes) || ((Pace *)self->pace)->suspended || !is_a(plan->timeline, timeline_type))
        return PyErr_Occurred() ? -1 : 0;
    PyObject *step = next_step((Timeline *)plan->timeline);
    if (step == NULL) return PyErr_Occurred() ? -1 : 0;
    PyObject *reached = call_named(self->pace, names[REACHED], PyTuple_GetItem(step, 1), NULL, NULL);
    int gone = reached == NULL ? -1 : reached == Py_True ? 1 : 0;
    Py_XDECREF(reached);
    if (gone > 0 && begin_step(self, step) < 0) gone = -1;
    Py_DECREF(step);
    return gone;
}

/* Carries out ticks up to the next node that is for the plan. */
static PyObject *row_next(Row *self) {
    if (self->order == NULL || self->plan == NULL) return NULL;
    look_around(self);
    for (;;) {
        if (self->index >= PyList_Size(self->order)) {
            if (go_on(self) <= 0) return NULL;
            continue;
        }
        PyObject *node = shared(PyList_GetItem(self->order, self->index++));
        Run *run = (Run *)node;
        PyObject *schedule = is_a(node, run_type) ? run->schedule : NULL;
        int left = LEFT;
        if (schedule != NULL && self->offset_ns != NULL) {
            Py_INCREF(schedule);
            run->in_task = plan_of(self)->in_group;
            left = carry_out(self, run, schedule);
            Py_DECREF(schedule);
        }
        if (left == LEFT) return node;
        Py_DECREF(node);
        if (left == FAILED) return NULL;
    }
}

static int row_init(Row *self, PyObject *args, PyObject *named) {
    static char *known[] = {"plan", "step", NULL};
    PyObject *plan, *step;
    if (!PyArg_ParseTupleAndKeywords(args, named, "O!O!", known, plan_type, &plan, &PyTuple_Type, &step)) return -1;
    if (coroutine_type == NULL || PyTuple_Size(step) < 5 || !PyList_Check(((Plan *)plan)->order)) {
        PyErr_SetString(PyExc_ValueError, "not a step or a plan, or not connected");
        return -1;
    }
    PyObject *after = tick_after(step);
    assign_shared(&self->plan, plan);
    assign_shared(&self->step, step);
    assign_shared(&self->order, ((Plan *)plan)->order);
    assign_shared(&self->running, Py_None);
    assign(&self->after, after);
    return after == NULL ? -1 : 0;
}

#define EACH_OF_ROW(DO) DO(plan) DO(step) DO(order) DO(after) DO(running) DO(pace) DO(offset_ns)
HOLDS(Row, row, EACH_OF_ROW)

static PyMemberDef row_members[] = {
    {"running", T_OBJECT_EX, offsetof(Row, running), READONLY, "The node whose tick is being called, or None."},
    {NULL},
};

static PyType_Slot row_slots[] = {
    {Py_tp_doc, "Row(plan, step)\n--\n\nThe nodes of a scheduler tick: those of which the plan has more to do."},
    {Py_tp_init, row_init},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, row_next},
    HOLDING(row),
    {Py_tp_members, row_members},
    {0, NULL},
};

static PyType_Spec row_spec = {"horus_async._native.Row", sizeof(Row), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                               row_slots};

static PyObject *connect(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject **kept[] = {&tick_kind, &running_state, &coroutine_type, &still_pace, &execution_class, &may_suspend,
                         &step_class};
    PyObject *given[7];
    if (!PyArg_ParseTuple(args, "OOO!O!O!OO!", given, given + 1, &PyType_Type, given + 2, &PyType_Type, given + 3,
                          &PyType_Type, given + 4, given + 5, &PyType_Type, given + 6))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)given[3], pace_type)) {
        PyErr_SetString(PyExc_TypeError, "not a class of paces");
        return NULL;
    }
    for (int i = 0; i < 7; i++) assign_shared(kept[i], given[i]);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"connect_ticks", connect, METH_VARARGS,
     "connect_ticks(kind, running, coroutine, pace, execution, may_suspend, step)\n--\n\nWhat ticks are known by and told as."},
    {NULL},
};

int add_tick(PyObject *module) {
    for (int i = 0; i < NAMES; i++) {
        names[i] = PyUnicode_InternFromString(spelt[i]);
        if (names[i] == NULL) return -1;
    }
    return add_type(module, &row_spec) == NULL ? -1 : PyModule_AddFunctions(module, functions);
}
