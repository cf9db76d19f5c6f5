/* Streams and events: a thread a stream, which does what was asked in order, and late. */
#pragma once
#include "objects.h"

/* The latest of all times: when somebody waits for the stream, or asks whether it is through. */
#define UNTIL_WANTED UINT_MAX

static unsigned longest_delay(const char *name, unsigned unset) {
  const char *text = getenv(name);
  if (text && strcmp(text, "unwanted") == 0) return UNTIL_WANTED;
  return text ? (unsigned)atoi(text) : unset;
}

static void delay(unsigned most, unsigned *seed) {
  if (most) usleep(most / 2 + rand_r(seed) % (most / 2 + 1));
}

/* With the lock held. */
static void want(Stream *stream) {
  if (!stream) return;
  stream->wanted = 1;
  pthread_cond_broadcast(&changed);
}

static void *run_stream(void *argument) {
  Stream *stream = argument;
  unsigned seed = (unsigned)(uintptr_t)stream ^ (unsigned)getpid();
  pthread_mutex_lock(&lock);
  for (;;) {
    while (!stream->first && !stream->stopping) pthread_cond_wait(&changed, &lock);
    Operation *operation = stream->first;
    if (!operation) break;
    if (operation->what == WAIT) {
      if (operation->event->completed < operation->generation) want(operation->event->stream);
      while (operation->event->completed < operation->generation) pthread_cond_wait(&changed, &lock);
    } else if (operation->what == COPY) {
      int is_late = operation->longest_delay == UNTIL_WANTED;
      while (is_late && !stream->wanted && !stream->stopping) pthread_cond_wait(&changed, &lock);
      pthread_mutex_unlock(&lock);
      if (!is_late) delay(operation->longest_delay, &seed);
      memcpy(operation->destination, operation->source, operation->length);
      pthread_mutex_lock(&lock);
    } else if (operation->event->completed < operation->generation) {
      operation->event->completed = operation->generation;
    }
    stream->first = operation->next;
    if (!stream->first) stream->last = NULL;
    if (--stream->pending == 0) stream->wanted = 0;
    free(operation);
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

static Stream *new_stream(Context *context) {
  Stream *stream = calloc(1, sizeof *stream);
  stream->object = (Object){STREAM, 1};
  stream->context = context;
  pthread_create(&stream->thread, NULL, run_stream, stream);
  if (stream_count < 4096) all_streams[stream_count++] = stream;
  return stream;
}

/* With the lock held. */
static void enqueue(Stream *stream, Operation operation) {
  Operation *queued = malloc(sizeof *queued);
  *queued = operation;
  queued->next = NULL;
  if (stream->last) stream->last->next = queued;
  else stream->first = queued;
  stream->last = queued;
  stream->pending++;
  pthread_cond_broadcast(&changed);
}

static void drain(Stream *stream) {
  if (stream->pending) want(stream);
  while (stream->pending) pthread_cond_wait(&changed, &lock);
}

/* Null and 1 are the default stream of the current context. */
static Stream *stream_of(void *handle) {
  if (handle != NULL && handle != (void *)1) return handle;
  Context *context = current();
  pthread_mutex_lock(&lock);
  Stream **stream = &default_streams[context->device];
  if (!*stream) *stream = new_stream(context);
  pthread_mutex_unlock(&lock);
  return *stream;
}

/* With the lock held: whether an operation that is not over touches the memory. */
static int in_use(const char *address, size_t length) {
  for (int i = 0; i < stream_count; i++)
    for (Operation *operation = all_streams[i]->first; operation; operation = operation->next) {
      if (operation->what != COPY) continue;
      const char *source = operation->source, *destination = operation->destination;
      if (source < address + length && address < source + operation->length) return 1;
      if (destination < address + length && address < destination + operation->length) return 1;
    }
  return 0;
}

Result cuStreamCreate(Stream **stream, unsigned flags) {
  CHECK();
  if (flags != 1) return violation(INVALID_VALUE, "a stream that waits for the default stream");
  pthread_mutex_lock(&lock);
  *stream = new_stream(current());
  current()->children++;
  live_streams++;
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuStreamDestroy_v2(Stream *stream) {
  CHECK();
  HANDLE(stream, STREAM);
  pthread_mutex_lock(&lock);
  if (stream->pending) violation(OK, "a stream was destroyed with %d operations to do", stream->pending);
  stream->object.alive = 0;
  stream->context->children--;
  live_streams--;
  stream->stopping = 1;
  for (int i = 0; i < stream_count; i++)
    if (all_streams[i] == stream) all_streams[i] = all_streams[--stream_count];
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(stream->thread, NULL);
  return OK;
}

Result cuStreamSynchronize(void *handle) {
  CHECK();
  Stream *stream = stream_of(handle);
  HANDLE(stream, STREAM);
  pthread_mutex_lock(&lock);
  drain(stream);
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuStreamWaitEvent(void *handle, Event *event, unsigned flags) {
  CHECK();
  Stream *stream = stream_of(handle);
  HANDLE(stream, STREAM);
  HANDLE(event, EVENT);
  if (flags) return INVALID_VALUE;
  pthread_mutex_lock(&lock);
  enqueue(stream, (Operation){.what = WAIT, .event = event, .generation = event->recorded});
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuEventCreate(Event **event, unsigned flags) {
  CHECK();
  if (flags & ~7u) return INVALID_VALUE;
  *event = calloc(1, sizeof **event);
  (*event)->object = (Object){EVENT, 1};
  (*event)->context = current();
  pthread_mutex_lock(&lock);
  current()->children++;
  live_events++;
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuEventDestroy_v2(Event *event) {
  CHECK();
  HANDLE(event, EVENT);
  pthread_mutex_lock(&lock);
  event->object.alive = 0;
  event->context->children--;
  live_events--;
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuEventRecord(Event *event, void *handle) {
  CHECK();
  HANDLE(event, EVENT);
  Stream *stream = stream_of(handle);
  HANDLE(stream, STREAM);
  pthread_mutex_lock(&lock);
  event->stream = stream;
  enqueue(stream, (Operation){.what = RECORD, .event = event, .generation = ++event->recorded});
  pthread_mutex_unlock(&lock);
  return OK;
}

Result cuEventQuery(Event *event) {
  CHECK();
  HANDLE(event, EVENT);
  pthread_mutex_lock(&lock);
  Result result = event->completed == event->recorded ? OK : NOT_READY;
  if (result == NOT_READY) want(event->stream);
  pthread_mutex_unlock(&lock);
  return result;
}

Result cuEventSynchronize(Event *event) {
  CHECK();
  HANDLE(event, EVENT);
  pthread_mutex_lock(&lock);
  uint64_t generation = event->recorded;
  if (event->completed < generation) want(event->stream);
  while (event->completed < generation) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  return OK;
}
