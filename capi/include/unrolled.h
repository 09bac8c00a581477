// The C interface of unrolled: recurrent networks (LSTM, GRU, RNN, with dense layers and activations around them) that
// run in real time, in float.
//
//     unrolled_error error;
//     unrolled_model *model = unrolled_model_load_file("amp.nam", &error);
//     if (!model) { puts(error.message); … }
//     unrolled_stream *stream = unrolled_stream_new(model, 1, &error);
//     …
//     unrolled_stream_process(stream, in, frames, out, frames);   // on the audio thread, in every block
//     …
//     unrolled_stream_free(stream);
//     unrolled_model_free(model);
//
// Models and streams. A model is what a file holds. It never changes, so that any number of threads and streams share
// it. A stream is a model at work: the states of its rows and all memory that processing takes.
//
// Shapes. A stream plays `batch` rows at a time: sequences of their own with a state each, such as the channels of a
// mono model. At each step, each row reads input_size values and gives output_size.
//
// Threads. Functions of a model may be called from any thread at any time. A stream may go from thread to thread, but
// one at a time may use it: a second one gets UNROLLED_STATUS_BUSY. On an audio thread you may call
// unrolled_stream_process, _process_channels and _reset, the sizes of a model, and unrolled_status_text. They ask for
// no memory, take no lock, and make no system call, whether they succeed or not.
//
// Errors. What makes an object returns NULL, and says why in an unrolled_error, if you gave one. What works on a
// stream returns a status. A call that is refused has changed nothing. No function ends the program for a wrong
// argument, and no panic of Rust gets out.
//
// What you promise, as no C library can find out: a pointer to a model or a stream is NULL, or it has not been freed,
// and nobody frees it meanwhile; a pointer to values leads to as many as you say, which nobody else writes meanwhile; a
// text ends with a zero; an unrolled_error is NULL or memory for one.


#ifndef UNROLLED_H
#define UNROLLED_H

#include <stddef.h>

// The bytes of a message, its final zero among them.
#define UNROLLED_MESSAGE_SIZE 508

// What came of a call. Later versions may add values.
typedef enum {
    // It was done.
    UNROLLED_STATUS_OK = 0,
    // A pointer is NULL, or not aligned to what it points to.
    UNROLLED_STATUS_POINTER = 1,
    // A number of values, channels or steps is not what the model and the batch ask for.
    UNROLLED_STATUS_LENGTH = 2,
    // Two buffers overlap and are not one and the same.
    UNROLLED_STATUS_OVERLAP = 3,
    // The stream is at work in another thread.
    UNROLLED_STATUS_BUSY = 4,
    // An argument cannot be what it is; the message says what it must be.
    UNROLLED_STATUS_INVALID = 5,
    // The file cannot be read.
    UNROLLED_STATUS_FILE = 6,
    // The file's content is no model that this library reads; the message says why.
    UNROLLED_STATUS_FORMAT = 7,
    // There is not enough memory.
    UNROLLED_STATUS_MEMORY = 8,
    // A mistake in the library itself. A stream that gave it may be reset or freed.
    UNROLLED_STATUS_INTERNAL = 9,
} unrolled_status;

// A model in memory. It never changes: any number of threads may use one at a time.
typedef struct unrolled_model unrolled_model;

// A model at work: the states of its rows, and all memory that processing takes. One thread at a time may use it.
typedef struct unrolled_stream unrolled_stream;

// Why a model or a stream was not made. It lies where you want it, on the stack for instance, and holds nothing that
// would have to be freed.
typedef struct {
    // UNROLLED_STATUS_OK where the call did what it was to do.
    unrolled_status status;
    // A sentence in UTF-8 that ends with a zero, empty after success. One that is too long ends with "…".
    char message[UNROLLED_MESSAGE_SIZE];
} unrolled_error;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A few words for a status, which live as long as the program. Safe on an audio thread.
const char *unrolled_status_text(int status);

// The library's version, "0.1.0" for instance.
const char *unrolled_version(void);

// The instruction set whose kernels models loaded from now on will run: "portable", "neon", "avx2" or "avx512". The
// environment variable UNROLLED_MAX_ISA, read at the first load or call of this, sets the highest. The first call
// may ask for memory.
const char *unrolled_isa(void);

// Loads a model from a file: JSON as RTNeural reads it, JSON of CoreAudioML (Automated-GuitarAmpModelling), an LSTM
// in .nam, or safetensors that Python's unrolled.save wrote. What the file holds decides, not its name.
//
// path: UTF-8, closed by a zero. (On Unix any bytes that name a file.)
// error: what went wrong, or NULL. It is written in any case.
//
// Returns a model to be freed by unrolled_model_free, or NULL.
unrolled_model *unrolled_model_load_file(const char *path,
                                         unrolled_error *error);

// Loads a model from what a file holds. The memory is read before the function returns, and not kept.
//
// data, size: the bytes, and how many.
// error: as unrolled_model_load_file takes it.
//
// Returns a model to be freed by unrolled_model_free, or NULL.
unrolled_model *unrolled_model_load_memory(const void *data, size_t size, unrolled_error *error);

// One owner more: the model stays until unrolled_model_free has been called for each. Returns the same model, or
// NULL for NULL. Any thread may call it.
unrolled_model *unrolled_model_retain(const unrolled_model *model);

// Frees a model, or gives up one of several owners. NULL is allowed. Streams of the model go on: they own it too.
// Any thread may call it, but not the audio thread, as memory may be freed.
void unrolled_model_free(unrolled_model *model);

// Values that the model reads at a step, for each row; 0 for NULL.
size_t unrolled_model_input_size(const unrolled_model *model);

// Values that the model gives at a step, for each row; 0 for NULL.
size_t unrolled_model_output_size(const unrolled_model *model);

// Weights and biases of all its layers; 0 for NULL.
size_t unrolled_model_num_parameters(const unrolled_model *model);

// Prepares a model to be played, from its initial state. All memory is asked for here.
//
// model: stays owned by the caller, who may free it at once: the stream owns it too.
// batch: rows that are processed at a time, at least 1: sequences of their own, such as the channels of a mono model.
// error: what went wrong, or NULL. It is written in any case.
//
// Returns a stream to be freed by unrolled_stream_free, or NULL: for a model with a layer that runs backward in time.
unrolled_stream *unrolled_stream_new(const unrolled_model *model,
                                     size_t batch,
                                     unrolled_error *error);

// Frees a stream; NULL is allowed. No other thread may be at work on it, and it is nothing for the audio thread, as
// memory is freed.
void unrolled_stream_free(unrolled_stream *stream);

// Goes back to the model's initial state, without asking for memory or waiting.
unrolled_status unrolled_stream_reset(unrolled_stream *stream);

// Plays any number of steps, without asking for memory or waiting. What comes out is, to the last bit, what all steps
// at once would give, whatever blocks they come in.
//
// in: (steps, batch, input size), the last index fastest. in_len counts its floats.
// out: (steps, batch, output size). out_len counts its floats: as many steps as there are of in.
//
// in and out may be the same buffer where the input size is the output size; they may not overlap otherwise. Of no
// steps, both may be NULL.
//
// Returns UNROLLED_STATUS_OK; or _POINTER, _LENGTH, _OVERLAP, _BUSY, and then stream and out are as they were.
unrolled_status unrolled_stream_process(unrolled_stream *stream,
                                        const float *in,
                                        size_t in_len,
                                        float *out,
                                        size_t out_len);

// The same of channels that each have a buffer, as audio hosts hold them.
//
// in: channels_in pointers to steps floats each. There is a channel for each value of each row, row after row:
//   channels_in is batch * input size.
// out: channels_out pointers to steps floats each; channels_out is batch * output size.
//
// A buffer of out may be a buffer of in. Otherwise none of out may overlap another one. Every pair of channels is
// looked at for that: from some hundred channels on unrolled_stream_process is quicker.
//
// Returns what unrolled_stream_process does.
unrolled_status unrolled_stream_process_channels(unrolled_stream *stream,
                                                 const float *const *in,
                                                 size_t channels_in,
                                                 float *const *out,
                                                 size_t channels_out,
                                                 size_t steps);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UNROLLED_H */
