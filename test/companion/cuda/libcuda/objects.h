/* What there is, and the checks that every call makes. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int Result;
typedef uint64_t DevicePointer;
typedef struct { uint8_t bytes[64]; } IpcHandle;

enum {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
  MAP_FAILED_ERROR = 205, ALREADY_MAPPED = 208, INVALID_HANDLE = 400, NOT_READY = 600, CONTEXT_IS_DESTROYED = 709,
  ALREADY_REGISTERED = 712, NOT_REGISTERED = 713, NOT_SUPPORTED = 801,
};

enum { DEVICES = 2, PAGE = 4096, ALLOCATION_UNIT = 2 << 20 };
static const uint64_t DEVICE_SHIFT = 0x4000000000000000ull;

/* Objects are never freed, only marked dead, so that a stale handle is recognised and not a crash. */

enum Kind { STREAM = 0x5354, EVENT = 0x4556, CONTEXT = 0x4358 };

typedef struct Object {
  enum Kind kind;
  int alive;
} Object;

typedef struct Context {
  Object object;
  int device, retained, children;
} Context;

typedef struct Event {
  Object object;
  Context *context;
  struct Stream *stream; /* that recorded it last */
  uint64_t recorded, completed;
} Event;

typedef struct Operation {
  struct Operation *next;
  enum { COPY, RECORD, WAIT } what;
  void *destination;
  const void *source;
  size_t length;
  Event *event;
  uint64_t generation;
  unsigned longest_delay;
} Operation;

typedef struct Stream {
  Object object;
  Context *context;
  Operation *first, *last;
  int pending, stopping;
  int wanted; /* somebody waits for it, or asked how far it is */
  pthread_t thread;
} Stream;

/* Memory of any sort: device allocations, opened handles, registered and pinned host memory. */
typedef struct Range {
  struct Range *next;
  enum { ALLOCATION, MAPPING, REGISTRATION, PINNED } sort;
  Context *context;
  char *address;
  size_t length;
  uint64_t owner, number;
  int descriptor; /* of an opened handle: its lock tells the exporter that it is open */
} Range;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int initialized;
static Context contexts[DEVICES];
static Stream *default_streams[DEVICES];
static Stream *all_streams[4096];
static int stream_count;
static Range *ranges;
static int live_streams, live_events;
static uint64_t last_number;
static int violations, unpinned_copies;
static _Thread_local Context *current_stack[16];
static _Thread_local int current_depth;

static Result violation(Result result, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "mock libcuda: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  __atomic_add_fetch(&violations, 1, __ATOMIC_SEQ_CST);
  return result;
}

static Result injected(const char *name) {
  const char *list = getenv("CYXCLOUD_MOCK_CUDA_FAIL");
  const char *found = list ? strstr(list, name) : NULL;
  return found && found[strlen(name)] == '=' ? atoi(found + strlen(name) + 1) : OK;
}

static Context *current(void) { return current_depth ? current_stack[current_depth - 1] : NULL; }

static Result check_context(const char *name) {
  if (!initialized) return violation(NOT_INITIALIZED, "%s before cuInit", name);
  Result failure = injected(name);
  if (failure) return failure;
  if (!current()) return violation(INVALID_CONTEXT, "%s on a thread without a current context", name);
  if (!current()->object.alive) return violation(CONTEXT_IS_DESTROYED, "%s in a context that was released", name);
  return OK;
}
#define CHECK() do { Result checked = check_context(__func__); if (checked) return checked; } while (0)
#define INJECT() do { Result failure = injected(__func__); if (failure) return failure; } while (0)

static Result check_handle(const void *handle, enum Kind kind, const char *name) {
  const Object *object = handle;
  if (!object || object->kind != kind) return violation(INVALID_HANDLE, "%s with a handle of another kind", name);
  if (!object->alive) return violation(INVALID_HANDLE, "%s with a handle that was destroyed", name);
  return OK;
}
#define HANDLE(handle, kind) do { Result checked = check_handle(handle, kind, __func__); if (checked) return checked; } while (0)

static int ordinal_of(int device) {
  const char *order = getenv("CYXCLOUD_MOCK_CUDA_ORDER");
  return order && strcmp(order, "reversed") == 0 ? DEVICES - 1 - device : device;
}
