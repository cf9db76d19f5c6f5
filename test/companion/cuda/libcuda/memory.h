/* Device memory as files that two processes may map, registered host memory, and copies between them. */
#pragma once
#include "streams.h"

static Range *find(const char *address, size_t length, int sorts) {
  for (Range *range = ranges; range; range = range->next)
    if (sorts >> range->sort & 1 && range->address <= address && address + length <= range->address + range->length)
      return range;
  return NULL;
}

static Range *add(Range range) {
  Range *added = malloc(sizeof *added);
  *added = range;
  added->next = ranges;
  added->context->children++;
  return ranges = added;
}

static void drop(Range *range) {
  Range **link = &ranges;
  while (*link != range) link = &(*link)->next;
  *link = range->next;
  range->context->children--;
  free(range);
}

static void file_of(char *path, uint64_t owner, uint64_t number) {
  const char *folder = getenv("CYXCLOUD_MOCK_CUDA");
  snprintf(path, PAGE, "%s/device-%llu-%llu", folder ? folder : "/tmp", (unsigned long long)owner, (unsigned long long)number);
}

/* Whether a process has the handle of an allocation open. */
static int is_open(const char *path) {
  int descriptor = open(path, O_RDONLY);
  int locked = flock(descriptor, LOCK_EX | LOCK_NB) != 0;
  close(descriptor);
  return locked;
}

static uint64_t checksum(const IpcHandle *handle) {
  uint64_t sum = 0xcbf29ce484222325ull;
  for (int i = 0; i < 56; i++) sum = (sum ^ handle->bytes[i]) * 0x100000001b3ull;
  return sum;
}

Result cuMemAlloc_v2(DevicePointer *pointer, size_t length) {
  CHECK();
  if (length == 0) return INVALID_VALUE;
  if (length % ALLOCATION_UNIT) return violation(INVALID_VALUE, "an allocation of %zu bytes shares its unit with others", length);
  pthread_mutex_lock(&lock);
  uint64_t number = ++last_number;
  char path[PAGE];
  file_of(path, (uint64_t)getpid(), number);
  int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  char *address = MAP_FAILED;
  if (descriptor >= 0 && ftruncate(descriptor, (off_t)length) == 0)
    address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (descriptor >= 0) close(descriptor);
  if (address != MAP_FAILED)
    add((Range){.sort = ALLOCATION, .context = current(), .address = address, .length = length, .owner = (uint64_t)getpid(), .number = number});
  pthread_mutex_unlock(&lock);
  if (address == MAP_FAILED) return OUT_OF_MEMORY;
  *pointer = (DevicePointer)(uintptr_t)address + DEVICE_SHIFT;
  return OK;
}

Result cuMemFree_v2(DevicePointer pointer) {
  CHECK();
  pthread_mutex_lock(&lock);
  char *address = (char *)(uintptr_t)(pointer - DEVICE_SHIFT);
  Range *range = find(address, 1, 1 << ALLOCATION);
  Result result = OK;
  if (!range || range->address != address) result = violation(INVALID_VALUE, "cuMemFree of memory that is not allocated");
  else {
    if (in_use(range->address, range->length)) violation(OK, "cuMemFree of memory that a copy still uses");
    char path[PAGE];
    file_of(path, range->owner, range->number);
    if (is_open(path)) violation(OK, "cuMemFree of memory that another process has open");
    unlink(path);
    munmap(range->address, range->length);
    drop(range);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuIpcGetMemHandle(IpcHandle *handle, DevicePointer pointer) {
  CHECK();
  pthread_mutex_lock(&lock);
  Range *range = find((char *)(uintptr_t)(pointer - DEVICE_SHIFT), 1, 1 << ALLOCATION);
  if (range) {
    memset(handle, 0, sizeof *handle);
    memcpy(handle->bytes, "CYXMOCK1", 8);
    memcpy(handle->bytes + 8, &range->owner, 8);
    memcpy(handle->bytes + 16, &range->number, 8);
    uint64_t length = range->length, device = (uint64_t)ordinal_of(range->context->device);
    memcpy(handle->bytes + 24, &length, 8);
    memcpy(handle->bytes + 32, &device, 8);
    uint64_t sum = checksum(handle);
    memcpy(handle->bytes + 56, &sum, 8);
  }
  pthread_mutex_unlock(&lock);
  return range ? OK : violation(INVALID_VALUE, "cuIpcGetMemHandle of memory that is not allocated");
}

Result cuIpcOpenMemHandle_v2(DevicePointer *pointer, IpcHandle handle, unsigned flags) {
  CHECK();
  if (flags != 1) return violation(INVALID_VALUE, "cuIpcOpenMemHandle without lazy peer access");
  uint64_t owner, number, length, device, sum;
  memcpy(&owner, handle.bytes + 8, 8);
  memcpy(&number, handle.bytes + 16, 8);
  memcpy(&length, handle.bytes + 24, 8);
  memcpy(&device, handle.bytes + 32, 8);
  memcpy(&sum, handle.bytes + 56, 8);
  if (memcmp(handle.bytes, "CYXMOCK1", 8) || sum != checksum(&handle)) return INVALID_VALUE;
  /* The real driver tells processes apart by their ids, and refuses the exporter itself. */
  if (owner == (uint64_t)getpid()) return INVALID_CONTEXT;
  if (kill((pid_t)owner, 0) != 0 && errno == ESRCH) return MAP_FAILED_ERROR;
  if (device != (uint64_t)ordinal_of(current()->device))
    return violation(INVALID_VALUE, "a handle was opened in a context of another device");
  char path[PAGE];
  file_of(path, owner, number);
  int descriptor = open(path, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return MAP_FAILED_ERROR;
  char *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED || flock(descriptor, LOCK_SH)) {
    close(descriptor);
    return MAP_FAILED_ERROR;
  }
  pthread_mutex_lock(&lock);
  add((Range){.sort = MAPPING, .context = current(), .address = address, .length = length, .descriptor = descriptor});
  pthread_mutex_unlock(&lock);
  *pointer = (DevicePointer)(uintptr_t)address + DEVICE_SHIFT;
  return OK;
}

Result cuIpcCloseMemHandle(DevicePointer pointer) {
  CHECK();
  pthread_mutex_lock(&lock);
  char *address = (char *)(uintptr_t)(pointer - DEVICE_SHIFT);
  Range *range = find(address, 1, 1 << MAPPING);
  Result result = OK;
  if (!range || range->address != address) result = violation(INVALID_VALUE, "a handle was closed that is not open");
  else {
    if (in_use(range->address, range->length)) violation(OK, "a handle was closed that a copy still uses");
    munmap(range->address, range->length);
    close(range->descriptor);
    drop(range);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuMemHostRegister_v2(void *pointer, size_t length, unsigned flags) {
  CHECK();
  if (length == 0 || flags & ~7u) return INVALID_VALUE;
  if ((uintptr_t)pointer % PAGE || length % PAGE) return violation(INVALID_VALUE, "registration of parts of pages");
  pthread_mutex_lock(&lock);
  Result result = OK;
  for (Range *range = ranges; range; range = range->next)
    if (range->sort == REGISTRATION && range->address < (char *)pointer + length && (char *)pointer < range->address + range->length)
      result = ALREADY_REGISTERED;
  if (result == OK) add((Range){.sort = REGISTRATION, .context = current(), .address = pointer, .length = length});
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuMemHostUnregister(void *pointer) {
  CHECK();
  pthread_mutex_lock(&lock);
  Range *range = find(pointer, 1, 1 << REGISTRATION);
  Result result = OK;
  if (!range || range->address != pointer) result = violation(NOT_REGISTERED, "memory was unregistered that is not registered");
  else {
    if (in_use(range->address, range->length)) violation(OK, "memory was unregistered that a copy still uses");
    drop(range);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuMemAllocHost_v2(void **pointer, size_t length) {
  CHECK();
  char *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return OUT_OF_MEMORY;
  pthread_mutex_lock(&lock);
  add((Range){.sort = PINNED, .context = current(), .address = address, .length = length});
  pthread_mutex_unlock(&lock);
  *pointer = address;
  return OK;
}

Result cuMemFreeHost(void *pointer) {
  CHECK();
  pthread_mutex_lock(&lock);
  Range *range = find(pointer, 1, 1 << PINNED);
  Result result = OK;
  if (!range || range->address != pointer) result = violation(INVALID_VALUE, "cuMemFreeHost of memory that is not allocated");
  else munmap(range->address, range->length), drop(range);
  pthread_mutex_unlock(&lock);
  return result;
}

static Result copy(Operation operation, Stream *stream, const void *host, const void *device) {
  operation.what = COPY;
  pthread_mutex_lock(&lock);
  Result result = OK;
  if (!find(device, operation.length, 1 << ALLOCATION | 1 << MAPPING))
    result = violation(INVALID_VALUE, "a copy to or from device memory that is not there");
  else {
    /* The real driver takes pageable memory too, slowly and through a buffer of its own. */
    if (host == operation.source && !find(host, operation.length, 1 << REGISTRATION | 1 << PINNED)) unpinned_copies++;
    enqueue(stream, operation);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuMemcpyHtoDAsync_v2(DevicePointer destination, const void *source, size_t length, void *stream) {
  CHECK();
  stream = stream_of(stream);
  HANDLE(stream, STREAM);
  void *device = (void *)(uintptr_t)(destination - DEVICE_SHIFT);
  unsigned most = longest_delay("CYXCLOUD_MOCK_CUDA_DELAY_US", 2000);
  return copy((Operation){.destination = device, .source = source, .length = length, .longest_delay = most}, stream, source, device);
}

Result cuMemcpyDtoHAsync_v2(void *destination, DevicePointer source, size_t length, void *stream) {
  CHECK();
  stream = stream_of(stream);
  HANDLE(stream, STREAM);
  void *device = (void *)(uintptr_t)(source - DEVICE_SHIFT);
  unsigned most = longest_delay("CYXCLOUD_MOCK_CUDA_READ_DELAY_US", 0);
  return copy((Operation){.destination = destination, .source = device, .length = length, .longest_delay = most}, stream, destination, device);
}

/* At once, and behind nothing: streams that do not block stay ahead or behind, as they happen to be. */
Result cuMemcpyDtoH_v2(void *destination, DevicePointer source, size_t length) {
  CHECK();
  const char *device = (const char *)(uintptr_t)(source - DEVICE_SHIFT);
  pthread_mutex_lock(&lock);
  Range *range = find(device, length, 1 << ALLOCATION | 1 << MAPPING);
  pthread_mutex_unlock(&lock);
  if (!range) return violation(INVALID_VALUE, "a copy from device memory that is not there");
  memcpy(destination, device, length);
  return OK;
}
