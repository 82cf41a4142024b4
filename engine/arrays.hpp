// Numpy arrays in and out of the bindings.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

/// The bits of a float16, which C++20 has no type for.
struct Half {
    std::uint16_t bits;
};

namespace nanobind::detail {

template <>
struct dtype_traits<Half> {
    static constexpr dlpack::dtype value{static_cast<std::uint8_t>(dlpack::dtype_code::Float), 16, 1};
    static constexpr auto name = const_name("float16");
};

}  // namespace nanobind::detail

namespace everglade::python {

namespace nb = nanobind;

template <typename T>
using Given = nb::ndarray<const T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
/// A view of a mapped file, which it keeps open.
template <typename T>
using View = nb::ndarray<nb::numpy, const T, nb::ndim<1>>;
template <typename T>
using Matrix = nb::ndarray<nb::numpy, T, nb::ndim<2>>;

template <typename T>
std::span<const T> view(const Given<T>& array) {
    return {array.data(), array.size()};
}

/// The array's content, safe from changes by other threads once the GIL is released.
template <typename T>
std::vector<T> copy(const Given<T>& array) {
    return {array.data(), array.data() + array.size()};
}

/// A numpy array that owns `values`.
template <typename Array, typename T>
Array to_numpy(std::unique_ptr<T[]> values, std::initializer_list<std::size_t> shape) {
    T* const data = values.get();
    nb::capsule owner(data, [](void* memory) noexcept { delete[] static_cast<T*>(memory); });
    static_cast<void>(values.release());
    return Array(data, shape, owner);
}

}  // namespace everglade::python
