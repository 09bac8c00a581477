// ours MODEL.json OUTPUTS

#include "measure.hpp"
#include <unrolled.hpp>

int main(int argc, char** argv) {
    if (argc != 3) {
        return 2;
    }
    unrolled::Stream stream(unrolled::Model::load(argv[1]));
    return measure(argv[2], [&](float* block) {
        if (stream.process(unrolled::Span<float>(block, BLOCK)) != UNROLLED_STATUS_OK) {
            std::abort();
        }
    });
}
