// The C++17 interface of unrolled, over unrolled.h: models and streams that free themselves, and views of buffers.
// Loading a model and making a stream throw unrolled::Error. What an audio thread calls is noexcept and returns a
// status.
//
//     auto model = unrolled::Model::load("amp.nam");
//     unrolled::Stream stream(model);                 // once, off the audio thread
//     if (stream.process(in, out)) { … }              // in every block: vectors, arrays, spans; 0 is success

#ifndef UNROLLED_HPP
#define UNROLLED_HPP

#include "unrolled.h"

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace unrolled {

// UNROLLED_STATUS_OK or what is wrong: see unrolled.h.
using Status = unrolled_status;

// A few words for a status.
inline const char* text(Status status) noexcept { return unrolled_status_text(status); }

// The library's version, and the instruction set that models loaded from now on will run.
inline const char* version() noexcept { return unrolled_version(); }
inline const char* isa() noexcept { return unrolled_isa(); }

// Why a model was not loaded, or a stream not made.
class Error : public std::runtime_error {
public:
    explicit Error(const unrolled_error& error) : std::runtime_error(error.message), status_(error.status) {}

    Status status() const noexcept { return status_; }

private:
    Status status_;
};

// A view of values that lie one after another. Vectors, arrays, std::span (C++20) and whatever else has data() and
// size() turn into one; it owns nothing.
template <class T>
class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}

    template <std::size_t N>
    constexpr Span(T (&values)[N]) noexcept : data_(values), size_(N) {}

    // A temporary may be read from, as what it holds lives to the end of the call, but not written to.
    template <class C, class = std::enable_if_t<
                           std::is_convertible_v<std::remove_pointer_t<decltype(std::declval<C&>().data())> (*)[], T (*)[]> &&
                           std::is_convertible_v<decltype(std::declval<C&>().size()), std::size_t>>>
    constexpr Span(C&& values) noexcept : data_(values.data()), size_(values.size()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr T* begin() const noexcept { return data_; }
    constexpr T* end() const noexcept { return data_ + size_; }
    constexpr T& operator[](std::size_t n) const noexcept { return data_[n]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

// A model. It never changes; copies share it, and any thread may use it.
class Model {
public:
    // From a file, its path in UTF-8: see unrolled_model_load_file.
    static Model load(const std::string& path) {
        // The C interface would end a path at a zero within it.
        if (path.find('\0') != std::string::npos) {
            unrolled_error error = {UNROLLED_STATUS_INVALID, "path: expected no zero in it"};
            throw Error(error);
        }
        unrolled_error error;
        return Model(unrolled_model_load_file(path.c_str(), &error), error);
    }

    // From what a file holds. It is not kept.
    static Model load_memory(const void* data, std::size_t size) {
        unrolled_error error;
        return Model(unrolled_model_load_memory(data, size, &error), error);
    }

    Model(const Model& other) noexcept : model_(unrolled_model_retain(other.get())) {}
    Model(Model&& other) noexcept = default;
    Model& operator=(Model other) noexcept {
        model_ = std::move(other.model_);
        return *this;
    }
    ~Model() = default;

    // Values of a step and row that go in, and that come out. 0 once the model has been moved from.
    std::size_t input_size() const noexcept { return unrolled_model_input_size(get()); }
    std::size_t output_size() const noexcept { return unrolled_model_output_size(get()); }
    std::size_t num_parameters() const noexcept { return unrolled_model_num_parameters(get()); }

    // What the C interface takes; still owned by this object.
    const unrolled_model* get() const noexcept { return model_.get(); }

private:
    struct Free {
        void operator()(unrolled_model* model) const noexcept { unrolled_model_free(model); }
    };

    Model(unrolled_model* model, const unrolled_error& error) : model_(model) {
        if (!model) {
            throw Error(error);
        }
    }

    std::unique_ptr<unrolled_model, Free> model_;
};

// A model at work. It moves from thread to thread, but one at a time may use it. Processing neither asks for memory nor
// waits.
class Stream {
public:
    // All memory is asked for here. batch: rows, sequences of their own, that are processed at a time.
    explicit Stream(const Model& model, std::size_t batch = 1) {
        unrolled_error error;
        stream_.reset(unrolled_stream_new(model.get(), batch, &error));
        if (!stream_) {
            throw Error(error);
        }
    }

    // in: (steps, batch, input size); out: (steps, batch, output size), or the same buffer where the sizes agree.
    [[nodiscard]] Status process(Span<const float> in, Span<float> out) noexcept {
        return unrolled_stream_process(stream_.get(), in.data(), in.size(), out.data(), out.size());
    }

    // In place, where as many values come out as go in.
    [[nodiscard]] Status process(Span<float> values) noexcept { return process(Span<const float>(values), values); }

    // A buffer of `steps` values for each channel, batch * input size of them in, batch * output size out.
    [[nodiscard]] Status process_channels(Span<const float* const> in, Span<float* const> out,
                                          std::size_t steps) noexcept {
        return unrolled_stream_process_channels(stream_.get(), in.data(), in.size(), out.data(), out.size(), steps);
    }

    // Goes back to the model's initial state.
    Status reset() noexcept { return unrolled_stream_reset(stream_.get()); }

    // What the C interface takes; still owned by this object.
    unrolled_stream* get() const noexcept { return stream_.get(); }

private:
    struct Free {
        void operator()(unrolled_stream* stream) const noexcept { unrolled_stream_free(stream); }
    };

    std::unique_ptr<unrolled_stream, Free> stream_;
};

}  // namespace unrolled

#endif  // UNROLLED_HPP
