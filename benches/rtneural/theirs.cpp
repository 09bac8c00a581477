// theirs static|dynamic lstm|gru UNITS MODEL.json OUTPUTS, with the back end that the compiler is told.

#include "measure.hpp"
#include <RTNeural/RTNeural.h>
#include <fstream>
#include <string>

template <class Model>
static int play(Model& model, const char* outputs) {
    model.reset();
    return measure(outputs, [&](float* block) {
        for (int n = 0; n < BLOCK; n++) {
            block[n] = model.forward(&block[n]);
        }
    });
}

template <int units>
static int of_size(bool lstm, std::ifstream& file, const char* outputs) {
    if (lstm) {
        static RTNeural::ModelT<float, 1, 1, RTNeural::LSTMLayerT<float, 1, units>, RTNeural::DenseT<float, units, 1>> model;
        model.parseJson(file);
        return play(model, outputs);
    }
    static RTNeural::ModelT<float, 1, 1, RTNeural::GRULayerT<float, 1, units>, RTNeural::DenseT<float, units, 1>> model;
    model.parseJson(file);
    return play(model, outputs);
}

int main(int argc, char** argv) {
    if (argc != 6) {
        return 2;
    }
    std::ifstream file(argv[4]);
    if (std::string(argv[1]) == "dynamic") {
        const auto model = RTNeural::json_parser::parseJson<float>(file);
        return play(*model, argv[5]);
    }
    const bool lstm = std::string(argv[2]) == "lstm";
    switch (std::atoi(argv[3])) {
    case 8: return of_size<8>(lstm, file, argv[5]);
    case 16: return of_size<16>(lstm, file, argv[5]);
    case 20: return of_size<20>(lstm, file, argv[5]);
    case 32: return of_size<32>(lstm, file, argv[5]);
    case 40: return of_size<40>(lstm, file, argv[5]);
    case 64: return of_size<64>(lstm, file, argv[5]);
    default: return 2;
    }
}
