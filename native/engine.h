/* What a run's tick looks at and changes: the objects that `state.c` makes the types of. Each is the base of a class of
 * the engine, whose other fields are in Python. Objects are never NULL once they were made. */
#ifndef HORUS_ENGINE_H
#define HORUS_ENGINE_H

#include "native.h"

typedef struct { /* what the time API says in a callback */
    PyObject_HEAD
    PyObject *node, *tick, *seed_tick, *now, *now_ns, *dt, *elapsed;
} Context;

typedef struct { /* when a node is due */
    PyObject_HEAD
    PyObject *next_tick, *done;
    char even, patient;
} Schedule;

enum { SAMPLES = 1024 };

typedef struct { /* how long ticks took */
    PyObject_HEAD
    uint64_t count, total;
    int64_t longest;
    int64_t samples[SAMPLES]; /* of the last ones */
} Durations;

typedef struct { /* how a node is */
    PyObject_HEAD
    PyObject *state;
    int64_t failures;
} Failure;

typedef struct { /* how a run moves through time */
    PyObject_HEAD
    PyObject *offset_ns; /* where virtual time stands */
    int64_t suspended;
} Pace;

typedef struct { /* who watches a run */
    PyObject_HEAD
    PyObject *thread;
    char hears_messages;
} Audience;

typedef struct { /* one node in one run */
    PyObject_HEAD
    PyObject *name, *context, *variables, *kind, *schedule, *on, *callbacks, *ports, *durations, *failure, *tick_listeners;
    PyObject *nominal_dt, *period_ns, *deadline_ns, *budget_ns;
    PyObject *began_ns, *last_ns, *dt_ns, *due_ns;
    PyObject *coroutine, *trap, *reported, *misuse;
    PyObject *enter;   /* `variables.run` */
    PyObject *drive;   /* calls the tick; what `enter` is given */
    PyObject *settled; /* the code of a tick that has turned out never to suspend */
    int64_t started_ns, resumed, misses_in_a_row;
    char by_hand, called, waits, busy, needs_init, skips_next;
    char in_task; /* the tick may suspend */
    char given;   /* it gave something to be looked at: `coroutine` */
} Run;

typedef struct { /* the run itself */
    PyObject_HEAD
    PyObject *audience, *pace, *order, *interludes, *began, *step, *tick, *timeline, *before_step, *at_step, *reason, *collector;
    int64_t ticks;
    char aborted, in_group, in_steps, step_open, stirred, order_known;
} Plan;

typedef struct { /* scheduler ticks that come evenly */
    PyObject_HEAD
    PyObject *next, *end, *numerator, *denominator, *start_ns, *start, *rate;
} Timeline;

typedef struct { /* a node's topics */
    PyObject_HEAD
    PyObject *node, *run, *audience, *time_of_day;
    PyObject *own;                      /* a set of the rings of this run */
    PyObject *publishers, *subscribers; /* dicts, by topic */
    PyObject *began;                    /* the tick of the running callback, or None */
    PyObject *inputs;                   /* a list of what it took */
    PyObject *looks;
    PyObject *empty; /* a dict: how often it found nothing, by topic */
    char own_time, has_work, guarded;
} Ports;

extern PyTypeObject *context_type, *schedule_type, *durations_type, *failure_type, *pace_type, *audience_type, *run_type,
    *plan_type, *timeline_type, *ports_type;

static inline void add_duration(Durations *self, int64_t duration_ns) {
    self->samples[self->count % SAMPLES] = duration_ns;
    self->count++;
    self->total += (uint64_t)duration_ns;
    if (duration_ns > self->longest) self->longest = duration_ns;
}

/* tick.c: what a `Run` calls its tick by. */
extern PyMethodDef drive_method;

/* ports.c: a callback of the node begins, in that tick, and has ended. */
int begin_callback(Ports *ports, PyObject *tick);
void end_callback(Ports *ports);

static inline int is_a(PyObject *object, PyTypeObject *type) { return object != NULL && PyObject_TypeCheck(object, type); }

#define VISIT(field) Py_VISIT(self->field);
#define CLEAR(field) Py_CLEAR(self->field);
#define BEGIN_AS_NONE(field) if (self->field == NULL) assign_shared(&self->field, Py_None);

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

#endif
