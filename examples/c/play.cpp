// Plays a file of floats through a model, a block at a time, each channel a row with states of its own:
//
//     play_cpp MODEL CHANNELS < in.f32 > out.f32
//
// MODEL reads and gives one value a step. c++ -std=c++17 play.cpp $(pkg-config --cflags --libs unrolled) -o play_cpp

#include <cstdio>
#include <cstdlib>
#include <unrolled.hpp>
#include <vector>

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s MODEL CHANNELS < in.f32 > out.f32\n", argv[0]);
        return 2;
    }
    try {
        const auto model = unrolled::Model::load(argv[1]);
        const auto channels = std::strtoul(argv[2], nullptr, 10);
        unrolled::Stream stream(model, channels);

        std::vector<float> block(64 * channels);
        while (const auto n = std::fread(block.data(), sizeof(float), block.size(), stdin)) {
            const auto status = stream.process(unrolled::Span<float>(block.data(), n));
            if (status != UNROLLED_STATUS_OK) {
                std::fprintf(stderr, "%s\n", unrolled::text(status));
                return 1;
            }
            if (std::fwrite(block.data(), sizeof(float), n, stdout) != n) {
                return 1;
            }
        }
    } catch (const unrolled::Error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
