// What a C++ program may do with the wrapper, compiled as C++17 and as C++20:
//
//     check_cpp MODEL ROWS < in.f32 > out.f32
//
// out is what the whole gives, then blocks, then channels.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <thread>
#include <type_traits>
#include <unrolled.hpp>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

using unrolled::Model;
using unrolled::Span;
using unrolled::Stream;

static_assert(std::is_copy_constructible_v<Model> && std::is_nothrow_move_constructible_v<Model>);
static_assert(!std::is_copy_constructible_v<Stream> && std::is_nothrow_move_constructible_v<Stream>);
static_assert(noexcept(std::declval<Stream&>().process({}, {})) && noexcept(std::declval<Stream&>().reset()));
static_assert(std::is_convertible_v<std::vector<float>&, Span<float>>);
static_assert(std::is_convertible_v<const std::vector<float>&, Span<const float>>);
static_assert(std::is_convertible_v<std::array<float, 3>&, Span<float>>);
static_assert(std::is_convertible_v<Span<float>, Span<const float>>);
static_assert(!std::is_convertible_v<const std::vector<float>&, Span<float>>, "what is const stays so");
static_assert(!std::is_convertible_v<Span<const float>, Span<float>>, "what is const stays so");
static_assert(!std::is_convertible_v<std::vector<double>&, Span<float>>, "nothing is taken for another type");

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);         \
            std::exit(1);                                                                        \
        }                                                                                        \
    } while (0)

template <class F>
static void refuse(unrolled::Status expected, F work) {
    try {
        work();
    } catch (const unrolled::Error& error) {
        CHECK(error.status() == expected && *error.what());
        return;
    }
    CHECK(!"an error was expected");
}

static void write_out(const std::vector<float>& y) {
    CHECK(std::fwrite(y.data(), sizeof(float), y.size(), stdout) == y.size());
}

int main(int argc, char** argv) {
    CHECK(argc == 3);
    const auto rows = std::strtoul(argv[2], nullptr, 10);
    refuse(UNROLLED_STATUS_FILE, [] { (void)Model::load("no such file"); });
    refuse(UNROLLED_STATUS_INVALID, [&] { (void)Model::load(argv[1] + std::string(1, '\0')); });
    refuse(UNROLLED_STATUS_FORMAT, [] { (void)Model::load_memory("no model", 8); });

    auto model = Model::load(argv[1]);
    refuse(UNROLLED_STATUS_INVALID, [&] { (void)Stream(model, 0); });
    auto copy = model;
    auto moved = std::move(model);
    CHECK(copy.get() == moved.get() && moved.num_parameters() > 0);
    // What has been moved from is no model, and says so.
    CHECK(model.input_size() == 0);
    refuse(UNROLLED_STATUS_POINTER, [&] { (void)Stream(model); });
    model = copy;
    CHECK(model.input_size() == copy.input_size());
    const auto inputs = rows * model.input_size(), outputs = rows * model.output_size();

    std::vector<float> x;
    for (float value; std::fread(&value, sizeof value, 1, stdin) == 1;) {
        x.push_back(value);
    }
    const auto steps = x.size() / inputs;
    std::vector<float> y(steps * outputs);

    Stream first(model, rows);
    Stream stream = std::move(first);
    CHECK(first.process(x, y) == UNROLLED_STATUS_POINTER);
    CHECK(stream.process(Span<const float>(x.data(), 1), y) == UNROLLED_STATUS_LENGTH);
    CHECK(stream.process(x, y) == UNROLLED_STATUS_OK);
    write_out(y);

    // Blocks, in another thread.
    CHECK(stream.reset() == UNROLLED_STATUS_OK);
    std::thread([&, stream = std::move(stream)]() mutable {
        for (std::size_t t = 0; t < steps; t += 5) {
            const auto block = steps - t < 5 ? steps - t : 5;
#if __cplusplus >= 202002L
            const auto status = stream.process(std::span(x).subspan(t * inputs, block * inputs),
                                               std::span(y).subspan(t * outputs, block * outputs));
#else
            const auto status =
                stream.process({x.data() + t * inputs, block * inputs}, {y.data() + t * outputs, block * outputs});
#endif
            CHECK(status == UNROLLED_STATUS_OK);
        }
    }).join();
    write_out(y);

    Stream other(copy, rows);
    std::vector<std::vector<float>> from(inputs, std::vector<float>(steps)), to(outputs, std::vector<float>(steps));
    std::vector<const float*> in;
    std::vector<float*> out;
    for (std::size_t c = 0; c < inputs; c++) {
        for (std::size_t t = 0; t < steps; t++) {
            from[c][t] = x[t * inputs + c];
        }
        in.push_back(from[c].data());
    }
    for (auto& channel : to) {
        out.push_back(channel.data());
    }
    CHECK(other.process_channels(in, out, steps) == UNROLLED_STATUS_OK);
    for (std::size_t c = 0; c < outputs; c++) {
        for (std::size_t t = 0; t < steps; t++) {
            y[t * outputs + c] = to[c][t];
        }
    }
    write_out(y);
    if (inputs == outputs) {
        CHECK(other.reset() == UNROLLED_STATUS_OK && other.process(x) == UNROLLED_STATUS_OK);
        CHECK(x == y);
    }
    CHECK(*unrolled::version() && *unrolled::isa() && *unrolled::text(UNROLLED_STATUS_BUSY));
}
