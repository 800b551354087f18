/* `horus_async.recorder.tables.sent`: the messages of one topic in the lines of a frame. Lines that hold the topic's name are
 * looked through as compact JSON, without a value being made of anything but the numbers of its messages; whatever is
 * not as our own writers have it (blanks, escapes in names, keys twice, wrong types, huge numbers) is left to Python. */
#include "native.h"

#define MISSING INT64_MIN

enum { DEEPEST = 200, DIGITS = 30, EXPONENT = 250 };

typedef struct {
    const char *at, *end;
} Span;

/* The members of an object that matter. */
enum Member { KIND, TICK, OUTPUTS, DIGEST, TOPIC, PUBLISHER, SEQ, STAMP, DATA, MEMBERS };
#define NAMED(text) {text, sizeof text - 1}
static const struct {
    const char *text;
    size_t size;
} members[MEMBERS] = {NAMED("\"kind\""),      NAMED("\"tick\""), NAMED("\"outputs\""),  NAMED("\"digest\""), NAMED("\"topic\""),
                      NAMED("\"publisher\""), NAMED("\"seq\""),  NAMED("\"stamp_ns\""), NAMED("\"data\"")};
static const char *const kinds[] = {"\"tick\"",       "\"init\"",    "\"shutdown\"",
                                    "\"safe_state\"", "\"request\"", "\"sends\""};

typedef struct {
    int64_t tick, stamp, seq;
} Row;

typedef struct {
    Span name;
    Row *rows;
    Py_ssize_t count, room;
    PyObject *publishers;
    char *values, *to; /* the JSON texts of the data, a newline before each */
} Found;

/* Each of these gives where a piece of JSON ends; NULL where it is none, or Python has to look. */

static const char *skip_string(const char *at, const char *end) {
    if (at >= end || *at++ != '"') return NULL;
    for (; at < end; at++) {
        if (*at == '"') return at + 1;
        if ((unsigned char)*at < 0x20) return NULL;
        if (*at != '\\') continue;
        if (++at >= end) return NULL;
        if (*at == 'u') {
            if (end - at < 5) return NULL;
            for (int i = 1; i <= 4; i++) {
                if (at[i] == 0 || strchr("0123456789abcdefABCDEF", at[i]) == NULL) return NULL;
            }
            if ((at[1] == 'd' || at[1] == 'D') && at[2] >= '8') return NULL; /* half of a pair */
            at += 4;
        } else if (*at == 0 || strchr("\"\\/bfnrt", *at) == NULL) {
            return NULL;
        }
    }
    return NULL;
}

static int is_digit(const char *at, const char *end) { return at < end && *at >= '0' && *at <= '9'; }

static const char *skip_digits(const char *at, const char *end) {
    while (is_digit(at, end)) at++;
    return at;
}

static const char *skip_number(const char *at, const char *end) {
    if (at < end && *at == '-') at++;
    const char *begin = at;
    if (!is_digit(at, end) || (*at == '0' && is_digit(at + 1, end))) return NULL;
    at = skip_digits(at, end);
    if (at < end && *at == '.') {
        if (!is_digit(++at, end)) return NULL;
        at = skip_digits(at, end);
    }
    if (at - begin > DIGITS) return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        int exponent = 0;
        begin = at;
        for (; is_digit(at, end) && exponent <= EXPONENT; at++) exponent = 10 * exponent + (*at - '0');
        if (at == begin || exponent > EXPONENT) return NULL;
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word) {
    size_t size = strlen(word);
    return (size_t)(end - at) >= size && memcmp(at, word, size) == 0 ? at + size : NULL;
}

static const char *skip_value(const char *at, const char *end, int depth) {
    if (at >= end || depth > DEEPEST) return NULL;
    char closing;
    switch (*at) {
        case '"': return skip_string(at, end);
        case 't': return skip_word(at, end, "true");
        case 'f': return skip_word(at, end, "false");
        case 'n': return skip_word(at, end, "null");
        case '{': closing = '}'; break;
        case '[': closing = ']'; break;
        default: return skip_number(at, end);
    }
    if (++at < end && *at == closing) return at + 1;
    for (;;) {
        if (closing == '}') {
            at = skip_string(at, end);
            if (at == NULL || at >= end || *at++ != ':') return NULL;
        }
        at = skip_value(at, end, depth + 1);
        if (at == NULL || at >= end) return NULL;
        if (*at == closing) return at + 1;
        if (*at++ != ',') return NULL;
    }
}

static int is(Span span, const char *text) {
    size_t size = strlen(text);
    return span.at != NULL && (size_t)(span.end - span.at) == size && memcmp(span.at, text, size) == 0;
}

static int has_escapes(Span text) { return memchr(text.at, '\\', text.end - text.at) != NULL; }

static const char *take_outputs(Found *found, const char *at, const char *end);

/* Takes an object apart into the members that matter. Of a line's outputs the messages are taken at once. */
static const char *read_object(const char *at, const char *end, Span *members_of, Found *line) {
    memset(members_of, 0, MEMBERS * sizeof *members_of);
    if (at >= end || *at++ != '{') return NULL;
    for (;;) {
        Span key = {at, skip_string(at, end)};
        if (key.end == NULL || has_escapes(key) || key.end >= end || *key.end != ':') return NULL;
        int member = 0;
        size_t size = key.end - key.at;
        while (member < MEMBERS && (size != members[member].size || memcmp(key.at, members[member].text, size) != 0)) {
            member++;
        }
        Span value = {key.end + 1, NULL};
        int are_outputs = line != NULL && member == OUTPUTS && value.at < end && *value.at == '[';
        value.end = are_outputs ? take_outputs(line, value.at, end) : skip_value(value.at, end, 0);
        if (value.end == NULL || value.end >= end) return NULL;
        if (member < MEMBERS) {
            if (members_of[member].at != NULL) return NULL;
            members_of[member] = value;
        }
        if (*value.end == '}') return value.end + 1;
        if (*value.end != ',') return NULL;
        at = value.end + 1;
    }
}

/* 1 if it is a whole number that is surely one of 64 bits. */
static int read_whole(Span span, int64_t *number) {
    if (span.at == NULL) return 0;
    int negative = *span.at == '-';
    const char *at = span.at + negative;
    if (span.end - at > 18 || (negative && *at == '0')) return 0;
    for (*number = 0; at < span.end; at++) {
        if (*at < '0' || *at > '9') return 0;
        *number = 10 * *number + (*at - '0');
    }
    if (negative) *number = -*number;
    return 1;
}

static int add_row(Found *found, Row row) {
    if (found->count == found->room) {
        Py_ssize_t room = 2 * found->room + 64;
        Row *rows = PyMem_Realloc(found->rows, room * sizeof *rows);
        if (rows == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        found->rows = rows;
        found->room = room;
    }
    found->rows[found->count++] = row;
    return 0;
}

/* 1 if the message is of the topic, 0 if it is of another, -1 where Python has to look or with an exception. */
static int is_meant(const Found *found, const Span *message) {
    Span topic = message[TOPIC];
    if (topic.at == NULL || *topic.at != '"') return -1;
    size_t size = found->name.end - found->name.at;
    if ((size_t)(topic.end - topic.at) == size && memcmp(topic.at, found->name.at, size) == 0) return 1;
    return has_escapes(topic) ? -1 : 0;
}

/* Adds a message; one without a tick has that of its line, which may come later: see `set_ticks`. */
static int take(Found *found, const Span *message) {
    int64_t tick = 0, seq, stamp;
    Span data = message[DATA];
    int has_tick = message[TICK].at != NULL;
    if (data.at == NULL || (has_tick && !read_whole(message[TICK], &tick)) || !read_whole(message[SEQ], &seq) ||
        seq < 0 || !read_whole(message[STAMP], &stamp)) {
        return -1;
    }
    if (add_row(found, (Row){has_tick ? tick : MISSING, stamp, seq}) < 0) return -1;
    *found->to++ = '\n';
    memcpy(found->to, data.at, data.end - data.at);
    found->to += data.end - data.at;
    return 0;
}

static const char *take_outputs(Found *found, const char *at, const char *end) {
    if (++at < end && *at == ']') return at + 1;
    for (;; at++) {
        Span output[MEMBERS];
        at = read_object(at, end, output, NULL);
        if (at == NULL || at >= end) return NULL;
        int meant = is_meant(found, output);
        if (meant < 0 || (meant && take(found, output) < 0)) return NULL;
        if (*at == ']') return at + 1;
        if (*at != ',') return NULL;
    }
}

/* Gives the messages from a place on the tick of their line, which have none of their own. */
static int set_ticks(Found *found, Py_ssize_t place, Span span) {
    for (; place < found->count; place++) {
        int64_t *tick = &found->rows[place].tick;
        if (*tick == MISSING && !read_whole(span, tick)) return -1;
    }
    return 0;
}

static int take_outside(Found *found, const Span *line) {
    int meant = is_meant(found, line);
    if (meant <= 0) return meant;
    Span publisher = line[PUBLISHER];
    if (publisher.at == NULL || *publisher.at != '"' || has_escapes(publisher) || line[TICK].at == NULL) return -1;
    if (take(found, line) < 0) return -1;
    PyObject *name = PyUnicode_DecodeUTF8(publisher.at + 1, publisher.end - publisher.at - 2, "strict");
    int result = name == NULL ? -1 : PyList_Append(found->publishers, name);
    Py_XDECREF(name);
    return result;
}

static int take_line(Found *found, const char *at, const char *end) {
    Span line[MEMBERS];
    Py_ssize_t place = found->count;
    if (read_object(at, end, line, found) != end) return -1;
    Span kind = line[KIND];
    if (kind.at == NULL || *kind.at != '"' || has_escapes(kind)) return -1;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!is(kind, kinds[i]) || line[DIGEST].at != NULL) continue;
        if (line[TICK].at == NULL || line[OUTPUTS].at == NULL || *line[OUTPUTS].at != '[') return -1;
        return set_ticks(found, place, line[TICK]);
    }
    if (found->count > place) return -1; /* what has outputs is no line of ours */
    return is(kind, "\"message\"") ? take_outside(found, line) : 0;
}

static int take_all(Found *found, const char *text, const char *end) {
    size_t size = found->name.end - found->name.at;
    for (const char *at = text; at < end;) {
        const char *place = memmem(at, end - at, found->name.at, size);
        if (place == NULL) break;
        const char *begin = place, *stop = memchr(place, '\n', end - place);
        while (begin > at && begin[-1] != '\n') begin--;
        if (stop == NULL) stop = end;
        if (take_line(found, begin, stop) < 0) return -1;
        at = stop + 1;
    }
    return 0;
}

/* The ticks, stamps or numbers as one row of 64-bit integers. */
static PyObject *column_of(const Found *found, int column) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, found->count * sizeof(int64_t));
    if (bytes == NULL) return NULL;
    int64_t *to = (int64_t *)PyBytes_AsString(bytes);
    for (Py_ssize_t i = 0; i < found->count; i++) {
        const Row *row = &found->rows[i];
        to[i] = column == 0 ? row->tick : column == 1 ? row->stamp : row->seq;
    }
    return bytes;
}

/* sent_in(text, name): ticks, stamps, numbers (each 64-bit integers), publishers (of external messages) and the JSON texts of the data, with
 * newlines between them; None where Python has to look. */
static PyObject *sent_in(PyObject *module, PyObject *args) {
    (void)module;
    const char *text, *name;
    Py_ssize_t size, name_size;
    if (!PyArg_ParseTuple(args, "y#y#", &text, &size, &name, &name_size)) return NULL;
    if (name_size < 2) Py_RETURN_NONE;
    Found found = {{name, name + name_size}, NULL, 0, 0, PyList_New(0), NULL, NULL};
    PyObject *result = NULL;
    /* Every value has a character behind it in its line, so there is room for a newline each. */
    found.values = found.to = PyMem_Malloc(size + 2);
    if (found.values == NULL) {
        PyErr_NoMemory();
    } else if (found.publishers != NULL) {
        if (take_all(&found, text, text + size) == 0) {
            int any = found.to > found.values; /* then with a newline before the first, too */
            PyObject *columns[3] = {column_of(&found, 0), column_of(&found, 1), column_of(&found, 2)};
            if (columns[0] != NULL && columns[1] != NULL && columns[2] != NULL) {
                result = Py_BuildValue("OOOOy#", columns[0], columns[1], columns[2], found.publishers, found.values + any,
                                       (Py_ssize_t)(found.to - found.values) - any);
            }
            for (int i = 0; i < 3; i++) Py_XDECREF(columns[i]);
        } else if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            result = Py_NewRef(Py_None);
        }
    }
    PyMem_Free(found.values);
    PyMem_Free(found.rows);
    Py_XDECREF(found.publishers);
    return result;
}

static PyMethodDef functions[] = {{"sent_in", sent_in, METH_VARARGS, NULL}, {0}};

int add_sent(PyObject *module) { return PyModule_AddFunctions(module, functions); }
