/* What a tick looks at and changes: `engine/core/state.py`, `ScheduleCore`, `TimelineCore`, `FailureCore`, `PaceCore` and
 * `ContextCore`. Nothing but types: their fields, and how they begin. */
#include "engine.h"

PyTypeObject *context_type, *schedule_type, *durations_type, *failure_type, *pace_type, *audience_type, *run_type, *plan_type,
    *timeline_type;

/* A field as Python sees it. T_OBJECT_EX, as Python reads such fields of objects as fast as its own. */
#define OBJECT(name, field, doc) {name, T_OBJECT_EX, offsetof(THIS, field), 0, doc}
#define FLAG(name, field, doc) {name, T_BOOL, offsetof(THIS, field), 0, doc}
#define NUMBER(name, field, doc) {name, T_LONGLONG, offsetof(THIS, field), 0, doc}
#define PLAIN(field) OBJECT(#field, field, NULL),

static int takes_nothing(PyObject *args, PyObject *named) {
    static char *none[] = {NULL};
    return PyArg_ParseTupleAndKeywords(args, named, "", none);
}

/* ---- Context ---- */

#define EACH_OF_CONTEXT(DO) DO(node) DO(tick) DO(seed_tick) DO(now) DO(now_ns) DO(dt) DO(elapsed)
HOLDS(Context, context, EACH_OF_CONTEXT)

#define THIS Context
static PyMemberDef context_members[] = {EACH_OF_CONTEXT(PLAIN){NULL}};
#undef THIS

static PyType_Slot context_slots[] = {
    {Py_tp_doc, "What of a context changes with each tick."},
    HOLDING(context),
    {Py_tp_members, context_members},
    {0, NULL},
};

static PyType_Spec context_spec = {"horus_async._native.ContextCore", sizeof(Context), 0, GC_BASE, context_slots};

/* ---- Schedule ---- */

#define EACH_OF_SCHEDULE(DO) DO(next_tick) DO(done)
HOLDS(Schedule, schedule, EACH_OF_SCHEDULE)

static int schedule_init(Schedule *self, PyObject *args, PyObject *named) {
    if (!takes_nothing(args, named)) return -1;
    PyObject *zero = PyLong_FromLong(0);
    if (zero == NULL) return -1;
    assign_shared(&self->done, zero);
    assign(&self->next_tick, zero);
    return 0;
}

#define THIS Schedule
static PyMemberDef schedule_members[] = {
    OBJECT("next_tick", next_tick, "The next scheduler tick at which the node is due."),
    OBJECT("_done", done, "How many ticks were due, up to the one before that."),
    FLAG("even", even, "Whether the node ticks in every scheduler tick."),
    FLAG("patient", patient, "Whether no tick is ever left out."),
    {NULL},
};
#undef THIS

static PyType_Slot schedule_slots[] = {
    {Py_tp_doc, "What of a schedule each tick looks at."},
    {Py_tp_init, schedule_init},
    HOLDING(schedule),
    {Py_tp_members, schedule_members},
    {0, NULL},
};

static PyType_Spec schedule_spec = {"horus_async._native.ScheduleCore", sizeof(Schedule), 0, GC_BASE, schedule_slots};

/* ---- Durations ---- */

static PyObject *durations_add(Durations *self, PyObject *duration) {
    int64_t duration_ns = PyLong_AsLongLong(duration);
    if (duration_ns == -1 && PyErr_Occurred()) return NULL;
    add_duration(self, duration_ns);
    Py_RETURN_NONE;
}

static PyObject *durations_samples(Durations *self, PyObject *Py_UNUSED(none)) {
    Py_ssize_t kept = self->count < SAMPLES ? (Py_ssize_t)self->count : SAMPLES;
    PyObject *list = PyList_New(kept);
    for (Py_ssize_t i = 0; list != NULL && i < kept; i++) {
        PyObject *sample = PyLong_FromLongLong(self->samples[i]);
        if (sample == NULL) Py_CLEAR(list);
        else PyList_SetItem(list, i, sample);
    }
    return list;
}

static PyMethodDef durations_methods[] = {
    {"add", (PyCFunction)durations_add, METH_O, "add($self, duration_ns, /)\n--\n\nOne more tick took `duration_ns`."},
    {"samples", (PyCFunction)durations_samples, METH_NOARGS,
     "samples($self, /)\n--\n\nThose of the last ticks, in any order."},
    {NULL},
};

static PyMemberDef durations_members[] = {
    {"count", T_ULONGLONG, offsetof(Durations, count), READONLY, "Of ticks."},
    {"total", T_ULONGLONG, offsetof(Durations, total), READONLY, "Of all of them, ns."},
    {"longest", T_LONGLONG, offsetof(Durations, longest), READONLY, "Of one of them, ns."},
    {NULL},
};

static PyType_Slot durations_slots[] = {
    {Py_tp_doc, "Execution times of one node's ticks, nanoseconds."},
    {Py_tp_dealloc, free_object},
    {Py_tp_methods, durations_methods},
    {Py_tp_members, durations_members},
    {0, NULL},
};

static PyType_Spec durations_spec = {"horus_async._native.DurationsCore", sizeof(Durations), 0,
                                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, durations_slots};

/* ---- Failure, Pace, Audience ---- */

#define EACH_OF_FAILURE(DO) DO(state)
HOLDS(Failure, failure, EACH_OF_FAILURE)

#define THIS Failure
static PyMemberDef failure_members[] = {
    OBJECT("state", state, "How the node is."), NUMBER("failures", failures, "In a row."), {NULL}};
#undef THIS

static PyType_Slot failure_slots[] = {
    {Py_tp_doc, "How a node is."}, HOLDING(failure), {Py_tp_members, failure_members}, {0, NULL}};

static PyType_Spec failure_spec = {"horus_async._native.FailureCore", sizeof(Failure), 0, GC_BASE, failure_slots};

#define EACH_OF_PACE(DO) DO(offset_ns)
HOLDS(Pace, pace, EACH_OF_PACE)

#define THIS Pace
static PyMemberDef pace_members[] = {
    OBJECT("offset_ns", offset_ns, "Where virtual time stands."),
    NUMBER("suspended", suspended, "How many callbacks are suspended, where `settle` has to wait for them."),
    {NULL},
};
#undef THIS

static PyType_Slot pace_slots[] = {
    {Py_tp_doc, "What of a pace each tick looks at."}, HOLDING(pace), {Py_tp_members, pace_members}, {0, NULL}};

static PyType_Spec pace_spec = {"horus_async._native.PaceCore", sizeof(Pace), 0, GC_BASE, pace_slots};

#define EACH_OF_AUDIENCE(DO) DO(thread)
HOLDS(Audience, audience, EACH_OF_AUDIENCE)

#define THIS Audience
static PyMemberDef audience_members[] = {
    OBJECT("thread", thread, "That of the run's event loop."),
    FLAG("hears_messages", hears_messages, "Whether anybody wants to know of messages and callbacks."),
    {NULL},
};
#undef THIS

static PyType_Slot audience_slots[] = {{Py_tp_doc, "What of an audience each message looks at."},
                                       HOLDING(audience),
                                       {Py_tp_members, audience_members},
                                       {0, NULL}};

static PyType_Spec audience_spec = {"horus_async._native.AudienceCore", sizeof(Audience), 0, GC_BASE, audience_slots};

/* ---- Run ---- */

#define OPTIONAL_OF_RUN(DO) DO(schedule) DO(deadline_ns) DO(budget_ns) DO(last_ns) DO(coroutine) DO(trap) DO(reported) DO(misuse)
#define REST_OF_RUN(DO)                                                                                          \
    DO(name) DO(context) DO(variables) DO(kind) DO(on) DO(callbacks) DO(ports) DO(durations) DO(failure)         \
    DO(tick_listeners) DO(nominal_dt) DO(period_ns) DO(began_ns) DO(dt_ns) DO(due_ns)
#define EACH_OF_RUN(DO) OPTIONAL_OF_RUN(DO) REST_OF_RUN(DO) DO(enter) DO(drive) DO(settled)
HOLDS(Run, run, EACH_OF_RUN)

static int run_init(Run *self, PyObject *args, PyObject *named) {
    static char *known[] = {"name", "context", "variables", NULL};
    PyObject *name, *context, *variables;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OO!O", known, &name, context_type, &context, &variables)) return -1;
    PyObject *enter = PyObject_GetAttrString(variables, "run"), *drive = PyCFunction_New(&drive_method, (PyObject *)self);
    PyObject *on = PyList_New(0), *listeners = PyList_New(0);
    PyObject *zero = PyLong_FromLong(0);
    assign_shared(&self->name, name);
    assign_shared(&self->context, context);
    assign_shared(&self->variables, variables);
    assign(&self->enter, enter);
    assign(&self->drive, drive);
    assign(&self->on, on);
    assign(&self->tick_listeners, listeners);
    OPTIONAL_OF_RUN(BEGIN_AS_NONE)
    if (zero != NULL) {
        assign_shared(&self->began_ns, zero);
        assign_shared(&self->dt_ns, zero);
        assign(&self->due_ns, zero);
    }
    return enter && drive && on && listeners && zero ? 0 : -1;
}

#define THIS Run
#define A_FLAG(field) FLAG(#field, field, NULL),
static PyMemberDef run_members[] = {
    OPTIONAL_OF_RUN(PLAIN) REST_OF_RUN(PLAIN) A_FLAG(by_hand) A_FLAG(called) A_FLAG(waits) A_FLAG(busy) A_FLAG(needs_init)
    A_FLAG(skips_next) NUMBER("started_ns", started_ns, NULL), NUMBER("resumed", resumed, NULL),
    NUMBER("misses_in_a_row", misses_in_a_row, NULL), {NULL}};
#undef THIS

static PyType_Slot run_slots[] = {
    {Py_tp_doc, "What changes with each tick of a node, and what a tick looks at."},
    {Py_tp_init, run_init},
    HOLDING(run),
    {Py_tp_members, run_members},
    {0, NULL},
};

static PyType_Spec run_spec = {"horus_async._native.RunCore", sizeof(Run), 0, GC_BASE, run_slots};

/* ---- Plan ---- */

#define EACH_OF_PLAN(DO) DO(audience) DO(pace) DO(order) DO(interludes) DO(began) DO(step) DO(tick) DO(timeline) \
    DO(before_step) DO(at_step) DO(reason) DO(collector)
HOLDS(Plan, plan, EACH_OF_PLAN)

static int plan_init(Plan *self, PyObject *args, PyObject *named) {
    if (!takes_nothing(args, named)) return -1;
    EACH_OF_PLAN(BEGIN_AS_NONE)
    PyObject **lists[] = {&self->order, &self->began, &self->before_step, &self->at_step};
    for (int i = 0; i < 4; i++) {
        PyObject *list = PyList_New(0);
        if (list == NULL) return -1;
        assign(lists[i], list);
    }
    assign(&self->reason, PyUnicode_FromString(""));
    return self->reason == NULL ? -1 : 0;
}

#define THIS Plan
static PyMemberDef plan_members[] = {
    OBJECT("audience", audience, "Those who watch the run."),
    OBJECT("_pace", pace, "How it moves through time; None before it runs."),
    OBJECT("_order", order, "The nodes in the order of their ticks: a list that is replaced, never changed."),
    OBJECT("_interludes", interludes, "Nodes whose safe state is to be entered while the run goes on."),
    OBJECT("_began", began, "The names of the nodes that began a tick in this scheduler tick."),
    OBJECT("_step", step, "The scheduler tick that goes on."),
    OBJECT("tick", tick, "Its number."),
    OBJECT("timeline", timeline, "The scheduler ticks, one after the other."),
    OBJECT("before_step", before_step, "Called before a scheduler tick begins, while the one before it still goes on."),
    OBJECT("at_step", at_step, "Called as a scheduler tick begins, before any node."),
    OBJECT("reason", reason, "Why the run ends; empty while it goes on."),
    NUMBER("ticks", ticks, "How many there were."),
    OBJECT("collector", collector, "Says when garbage is collected; None for wherever Python does it."),
    FLAG("_aborted", aborted, "Whether the run is to end at once."),
    FLAG("_in_group", in_group, "Whether the plan is carried out by tasks."),
    FLAG("_in_steps", in_steps, "Whether there is a `STEP_END` between two ticks."),
    FLAG("_stirred", stirred, "A message came for a node that ticks on messages."),
    FLAG("_step_open", step_open, "Whether a scheduler tick goes on."),
    FLAG("_order_known", order_known, "Whether the order of the nodes is up to date."),
    {NULL},
};
#undef THIS

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, "What of a run each tick looks at."},
    {Py_tp_init, plan_init},
    HOLDING(plan),
    {Py_tp_members, plan_members},
    {0, NULL},
};

static PyType_Spec plan_spec = {"horus_async._native.PlanCore", sizeof(Plan), 0, GC_BASE, plan_slots};

/* ---- Timeline ---- */

#define EACH_OF_TIMELINE(DO) DO(next) DO(end) DO(numerator) DO(denominator) DO(start_ns) DO(start) DO(rate)
HOLDS(Timeline, timeline, EACH_OF_TIMELINE)

#define THIS Timeline
static PyMemberDef timeline_members[] = {
    OBJECT("_next", next, "The next tick."),
    OBJECT("_end", end, "The tick before which it ends; None if it does not."),
    OBJECT("_numerator", numerator, "Ticks in `_denominator` nanoseconds."),
    OBJECT("_denominator", denominator, NULL),
    OBJECT("_start_ns", start_ns, "The time of tick 0."),
    OBJECT("_start", start, "The same in seconds."),
    OBJECT("_rate", rate, "Hz."),
    {NULL},
};
#undef THIS

static PyType_Slot timeline_slots[] = {{Py_tp_doc, "What a timeline of even ticks goes by."},
                                       HOLDING(timeline),
                                       {Py_tp_members, timeline_members},
                                       {0, NULL}};

static PyType_Spec timeline_spec = {"horus_async._native.TimelineCore", sizeof(Timeline), 0, GC_BASE, timeline_slots};

int add_state(PyObject *module) {
    struct {
        PyTypeObject **type;
        PyType_Spec *spec;
    } all[] = {{&context_type, &context_spec}, {&schedule_type, &schedule_spec}, {&durations_type, &durations_spec},
               {&failure_type, &failure_spec}, {&pace_type, &pace_spec},         {&audience_type, &audience_spec},
               {&run_type, &run_spec},         {&plan_type, &plan_spec},         {&timeline_type, &timeline_spec}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        *all[i].type = add_type(module, all[i].spec);
        if (*all[i].type == NULL) return -1;
    }
    return 0;
}
