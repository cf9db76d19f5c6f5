/*
 * A stand-in for libcuda.so.1 that is stricter than the real one, for tests without a GPU.
 *
 * - Device memory is a file in CYXCLOUD_MOCK_CUDA, so that two processes can share it by handle. Device addresses are
 *   shifted out of the address space: whoever dereferences one on the host crashes.
 * - Copies and events run on a thread per stream, in stream order, after a random delay of up to
 *   CYXCLOUD_MOCK_CUDA_DELAY_US (at least half of it; copies to the host CYXCLOUD_MOCK_CUDA_READ_DELAY_US): whoever
 *   does not wait reads stale bytes. With "unwanted" in place of a number they stay undone until somebody waits for them
 *   or asks for them.
 * - Every call but cuInit and the queries needs a context current on its own thread. Handles are checked for kind and
 *   for having been destroyed. What the real driver would leave undefined is a violation: reported on stderr and counted.
 * - CYXCLOUD_MOCK_CUDA_FAIL="cuMemHostRegister_v2=801,…" lets calls fail. CYXCLOUD_MOCK_CUDA_ORDER=reversed numbers the
 *   two devices the other way round, as CUDA_VISIBLE_DEVICES may.
 *
 * mockLive, mockViolations, mockUnpinnedCopies tell tests what is left.
 */
#define _GNU_SOURCE
#include "memory.h"

Result cuInit(unsigned flags) {
  INJECT();
  if (flags) return INVALID_VALUE;
  for (int i = 0; i < DEVICES; i++) contexts[i].object.kind = CONTEXT, contexts[i].device = i;
  initialized = 1;
  return OK;
}

Result cuDriverGetVersion(int *version) { *version = 12080; return OK; }

Result cuGetErrorName(Result error, const char **name) {
  switch (error) {
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case NOT_INITIALIZED: *name = "CUDA_ERROR_NOT_INITIALIZED"; break;
    case 100: *name = "CUDA_ERROR_NO_DEVICE"; break;
    case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
    case INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case MAP_FAILED_ERROR: *name = "CUDA_ERROR_MAP_FAILED"; break;
    case ALREADY_MAPPED: *name = "CUDA_ERROR_ALREADY_MAPPED"; break;
    case INVALID_HANDLE: *name = "CUDA_ERROR_INVALID_HANDLE"; break;
    case NOT_READY: *name = "CUDA_ERROR_NOT_READY"; break;
    case CONTEXT_IS_DESTROYED: *name = "CUDA_ERROR_CONTEXT_IS_DESTROYED"; break;
    case ALREADY_REGISTERED: *name = "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"; break;
    case NOT_REGISTERED: *name = "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"; break;
    case NOT_SUPPORTED: *name = "CUDA_ERROR_NOT_SUPPORTED"; break;
    default: *name = NULL; return INVALID_VALUE;
  }
  return OK;
}

Result cuDeviceGetCount(int *count) { INJECT(); *count = DEVICES; return OK; }

Result cuDeviceGet(int *device, int ordinal) {
  INJECT();
  if (!initialized) return violation(NOT_INITIALIZED, "cuDeviceGet before cuInit");
  if (ordinal < 0 || ordinal >= DEVICES) return INVALID_DEVICE;
  *device = ordinal;
  return OK;
}

Result cuDeviceGetName(char *name, int length, int device) {
  snprintf(name, (size_t)length, "Mock device %d", ordinal_of(device));
  return OK;
}

Result cuDeviceGetUuid_v2(uint8_t *uuid, int device) {
  INJECT();
  memset(uuid, 0x10 + ordinal_of(device), 16);
  uuid[0] = 0xfe;
  return OK;
}

Result cuDevicePrimaryCtxRetain(Context **context, int device) {
  INJECT();
  if (!initialized) return violation(NOT_INITIALIZED, "cuDevicePrimaryCtxRetain before cuInit");
  if (device < 0 || device >= DEVICES) return INVALID_DEVICE;
  pthread_mutex_lock(&lock);
  contexts[device].retained++;
  contexts[device].object.alive = 1;
  *context = &contexts[device];
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuDevicePrimaryCtxRelease_v2(int device) {
  Context *context = &contexts[device];
  if (!context->retained) return violation(INVALID_CONTEXT, "a context was released more often than retained");
  pthread_mutex_lock(&lock);
  if (--context->retained == 0) {
    if (context->children) violation(OK, "a context was released with %d objects in it", context->children);
    context->object.alive = 0;
  }
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuCtxSetCurrent(Context *context) {
  INJECT();
  if (context) HANDLE(context, CONTEXT);
  if (current_depth == 0) current_depth = 1;
  current_stack[current_depth - 1] = context;
  return OK;
}

Result cuCtxPushCurrent_v2(Context *context) {
  INJECT();
  HANDLE(context, CONTEXT);
  if (current_depth == 16) return violation(INVALID_VALUE, "contexts are pushed and not popped");
  current_stack[current_depth++] = context;
  return OK;
}

Result cuCtxPopCurrent_v2(Context **context) {
  if (current_depth == 0) return violation(INVALID_CONTEXT, "no context to pop");
  Context *popped = current_stack[--current_depth];
  if (context) *context = popped;
  return OK;
}

Result cuCtxGetCurrent(Context **context) { *context = current(); return OK; }

Result cuCtxGetDevice(int *device) {
  if (!current()) return INVALID_CONTEXT;
  *device = current()->device;
  return OK;
}

Result cuCtxSynchronize(void) {
  CHECK();
  pthread_mutex_lock(&lock);
  for (int i = 0; i < stream_count; i++) if (all_streams[i]->context == current()) drain(all_streams[i]);
  pthread_mutex_unlock(&lock);
  return OK;
}

/* Objects of one sort that are alive in this process: 's'treams, 'e'vents, 'c'ontexts, 'a'llocations, 'm'appings, 'r'egistrations, 'p'inned. */
int mockLive(char sort) {
  int count = 0;
  pthread_mutex_lock(&lock);
  if (sort == 's') count = live_streams;
  if (sort == 'e') count = live_events;
  if (sort == 'c') for (int i = 0; i < DEVICES; i++) count += contexts[i].retained;
  for (Range *range = ranges; range; range = range->next) count += "amrp"[range->sort] == sort;
  pthread_mutex_unlock(&lock);
  return count;
}

int mockViolations(void) { return violations; }
int mockUnpinnedCopies(void) { return unpinned_copies; }
