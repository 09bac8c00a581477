// Plays a file of floats through a model, a block at a time, as an audio program does:
//
//     play MODEL < in.f32 > out.f32
//
// MODEL reads and gives one value a step. cc play.c $(pkg-config --cflags --libs unrolled) -o play

#include <stdio.h>
#include <unrolled.h>

enum { BLOCK = 64 };

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL < in.f32 > out.f32\n", argv[0]);
        return 2;
    }

    unrolled_error error;
    unrolled_model *model = unrolled_model_load_file(argv[1], &error);
    if (!model) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    size_t inputs = unrolled_model_input_size(model), outputs = unrolled_model_output_size(model);
    fprintf(stderr, "%s: %zu parameters, %s\n", argv[1], unrolled_model_num_parameters(model), unrolled_isa());

    unrolled_stream *stream = unrolled_stream_new(model, 1, &error);
    // The stream keeps what it needs of the model.
    unrolled_model_free(model);
    if (!stream) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (inputs != 1 || outputs != 1) {
        fprintf(stderr, "the model reads %zu values and gives %zu; expected one each\n", inputs, outputs);
        unrolled_stream_free(stream);
        return 1;
    }

    float block[BLOCK];
    int failed = 0;
    for (size_t n; !failed && (n = fread(block, sizeof *block, BLOCK, stdin)) > 0;) {
        // In place, as the model gives as many values as it reads.
        unrolled_status status = unrolled_stream_process(stream, block, n, block, n);
        if (status != UNROLLED_STATUS_OK) {
            fprintf(stderr, "%s\n", unrolled_status_text(status));
        }
        failed = status != UNROLLED_STATUS_OK || fwrite(block, sizeof *block, n, stdout) != n;
    }
    unrolled_stream_free(stream);
    return failed;
}
