// What every contender does: a model plays blocks of sound, and says how long a sample took.

#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

constexpr int BLOCK = 64;

// `process` replaces the samples of a block. The first thousand go to a file, for comparison; then time is taken of
// sixteen blocks at a time, and its median is printed, in nanoseconds a sample.
template <class Process>
int measure(const char* outputs, Process process) {
    const int blocks = 16;
    std::vector<float> sound(BLOCK * blocks), work;
    for (std::size_t n = 0; n < sound.size(); n++) {
        sound[n] = 0.5f * std::sin(0.05f * static_cast<float>(n) + 1e-5f * static_cast<float>(n * n));
    }
    const auto play = [&] {
        work = sound;
        for (int block = 0; block < blocks; block++) {
            process(work.data() + block * BLOCK);
        }
    };
    play();
    if (FILE* file = std::fopen(outputs, "wb")) {
        std::fwrite(work.data(), sizeof(float), work.size(), file);
        std::fclose(file);
    }
    using Clock = std::chrono::steady_clock;
    std::vector<double> times;
    const auto begin = Clock::now();
    while (Clock::now() - begin < std::chrono::milliseconds(150)) {
        const auto start = Clock::now();
        play();
        times.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
    }
    std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
    std::printf("%.3f\n", times[times.size() / 2] / (BLOCK * blocks));
    return 0;
}
