// The engine as the Python module everglade._engine. It translates and nothing more.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "everglade/errors.hpp"
#include "everglade/search.hpp"
#include "everglade/segment.hpp"
#include "everglade/writer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename T>
using Given = nb::ndarray<const T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<nb::numpy, T, nb::ndim<1>>;
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

nb::str to_str(std::string_view text) { return nb::str(text.data(), text.size()); }

/// Paths may hold bytes that are not UTF-8; Python has its own way to carry those in a str.
nb::object path_to_str(const std::string& path) {
    return nb::steal(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

std::string_view to_view(nb::handle text) {
    Py_ssize_t size = 0;
    const char* const bytes = PyUnicode_Check(text.ptr()) ? PyUnicode_AsUTF8AndSize(text.ptr(), &size) : nullptr;
    if (bytes == nullptr && PyErr_Occurred()) throw nb::python_error();
    if (bytes == nullptr) throw nb::type_error("ids must be of type str");
    return {bytes, static_cast<std::size_t>(size)};
}

nb::typed<nb::dict, nb::str, int> write_segment(const std::filesystem::path& path, const nb::bytes& uuid,
                                                std::uint64_t number, std::uint32_t n_terms,
                                                const Given<std::int64_t>& indptr, const Given<std::int32_t>& terms,
                                                const Given<std::uint8_t>& impacts,
                                                const nb::typed<nb::list, nb::str>& ids) {
    everglade::SegmentName name{{}, number};
    if (uuid.size() != name.uuid.size()) throw std::invalid_argument("uuid must be 16 bytes long");
    std::copy_n(static_cast<const std::uint8_t*>(uuid.data()), name.uuid.size(), name.uuid.begin());
    std::string id_bytes;
    std::vector<std::uint64_t> id_starts{0};
    for (const nb::handle id : ids) {
        id_bytes += to_view(id);
        id_starts.push_back(id_bytes.size());
    }
    const std::vector<std::int64_t> starts = copy(indptr);
    const everglade::WrittenSegment written = [&] {
        const nb::gil_scoped_release released;
        return everglade::write_segment(path.string(), name,
                                        {n_terms, starts, view(terms), view(impacts), id_starts, id_bytes});
    }();
    nb::dict summary;
    summary["documents"] = written.n_documents;
    summary["postings"] = written.n_postings;
    summary["size_bytes"] = written.size_bytes;
    summary["crc32c"] = written.crc32c;
    return nb::typed<nb::dict, nb::str, int>(summary);
}

using SegmentPointer = std::shared_ptr<everglade::Segment>;
using Deletions = std::optional<Given<std::uint8_t>>;

std::tuple<Matrix<std::int32_t>, Matrix<std::uint32_t>, Matrix<std::uint32_t>> search(
    const std::vector<SegmentPointer>& segments, const std::vector<Deletions>& deleted,
    const Given<std::int64_t>& q_indptr, const Given<std::int32_t>& q_terms, const Given<std::uint32_t>& q_impacts,
    std::int64_t k, std::int64_t threads) {
    if (segments.size() != deleted.size())
        throw std::invalid_argument("there must be one deletions entry for each segment");
    std::vector<everglade::SearchedSegment> searched;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        searched.push_back({segments[i].get(), std::nullopt});
        if (deleted[i]) searched.back().deleted = view(*deleted[i]);
    }
    const auto starts = copy(q_indptr);
    const auto terms = copy(q_terms);
    const auto impacts = copy(q_impacts);
    if (k < 1) throw std::invalid_argument("k must be at least 1");
    if (threads < 1) throw std::invalid_argument("threads must be at least 1");
    const std::size_t rows = starts.empty() ? 0 : starts.size() - 1;
    const auto columns = static_cast<std::size_t>(k);
    if (rows > PTRDIFF_MAX / sizeof(std::uint32_t) / columns) throw std::bad_alloc();
    const std::size_t size = rows * columns;
    auto found_segments = std::make_unique_for_overwrite<std::int32_t[]>(size);
    auto found_locals = std::make_unique_for_overwrite<std::uint32_t[]>(size);
    auto scores = std::make_unique_for_overwrite<std::uint32_t[]>(size);
    {
        const nb::gil_scoped_release released;
        everglade::search(searched, {starts, terms, impacts}, columns, static_cast<std::size_t>(threads),
                          {{found_segments.get(), size}, {found_locals.get(), size}, {scores.get(), size}});
    }
    return {to_numpy<Matrix<std::int32_t>>(std::move(found_segments), {rows, columns}),
            to_numpy<Matrix<std::uint32_t>>(std::move(found_locals), {rows, columns}),
            to_numpy<Matrix<std::uint32_t>>(std::move(scores), {rows, columns})};
}

SegmentPointer open_segment(const std::filesystem::path& path, bool verify) {
    const nb::gil_scoped_release released;
    return std::make_shared<everglade::Segment>(path.string(),
                                                verify ? everglade::Verify::everything : everglade::Verify::structure);
}

nb::typed<nb::list, nb::str> ids(const everglade::Segment& segment, const Given<std::uint32_t>& locals) {
    nb::list found;
    for (const std::uint32_t local : view(locals)) found.append(to_str(segment.id(local)));
    return nb::typed<nb::list, nb::str>(found);
}

std::int64_t find(const everglade::Segment& segment, const nb::str& id) {
    const auto local = segment.find(to_view(id));
    return local ? std::int64_t{*local} : -1;
}

std::tuple<Vector<std::int32_t>, Vector<std::uint8_t>> document(const everglade::Segment& segment,
                                                                std::uint32_t local) {
    const auto [first, last] = segment.row(local);
    const everglade::Rows& rows = segment.rows();
    auto terms = std::make_unique_for_overwrite<std::int32_t[]>(last - first);
    auto impacts = std::make_unique_for_overwrite<std::uint8_t[]>(last - first);
    for (std::uint64_t entry = first; entry < last; ++entry) {
        terms[entry - first] = static_cast<std::int32_t>(rows.term(entry));
        impacts[entry - first] = rows.impacts[entry];
    }
    return {to_numpy<Vector<std::int32_t>>(std::move(terms), {last - first}),
            to_numpy<Vector<std::uint8_t>>(std::move(impacts), {last - first})};
}

PyObject* corrupt_segment = nullptr;
PyObject* format_too_new = nullptr;

/// Engine exceptions become Python exceptions whose `args` are the fields.
void translate(const std::exception_ptr& thrown, void*) {
    try {
        std::rethrow_exception(thrown);
    } catch (const everglade::CorruptSegment& error) {
        PyErr_SetObject(corrupt_segment, nb::make_tuple(path_to_str(error.path), error.offset, error.why).ptr());
    } catch (const everglade::FormatTooNew& error) {
        PyErr_SetObject(format_too_new, nb::make_tuple(path_to_str(error.path), error.why).ptr());
    } catch (const everglade::FileError& error) {
        // Three arguments make OSError choose its subclass by errno, for example FileNotFoundError.
        PyErr_SetObject(PyExc_OSError, nb::make_tuple(error.code, error.why, path_to_str(error.path)).ptr());
    }
}

}  // namespace

NB_MODULE(_engine, m) {
    m.doc() = "Segments of an index and exact search over them.";

    corrupt_segment = PyErr_NewExceptionWithDoc(
        "everglade._engine.CorruptSegment",
        "Bytes of a segment that are not what was written; args are path, offset, why.", PyExc_Exception, nullptr);
    format_too_new = PyErr_NewExceptionWithDoc("everglade._engine.FormatTooNew",
                                               "A segment written by a newer Everglade; args are path, why.",
                                               PyExc_Exception, nullptr);
    m.attr("CorruptSegment") = nb::handle(corrupt_segment);
    m.attr("FormatTooNew") = nb::handle(format_too_new);
    nb::register_exception_translator(translate);

    nb::class_<everglade::Segment>(
        m, "Segment",
        "One immutable segment file, mapped read-only. A document is named by its local number: its rank by id.\n\n"
        "Opening raises CorruptSegment, FormatTooNew or OSError. verify=False leaves out the checksums and the "
        "contents of\n"
        "postings, rows and ids; the structure is always checked.")
        .def(nb::new_(&open_segment), "path"_a, "verify"_a = true)
        .def_prop_ro(
            "path", [](const everglade::Segment& segment) { return path_to_str(segment.path()); },
            nb::sig("def path(self) -> str"))
        .def_prop_ro(
            "uuid", [](const everglade::Segment& s) { return nb::bytes(s.uuid().data(), s.uuid().size()); },
            "The 16 bytes that name the index this segment was written for.")
        .def_prop_ro("number", &everglade::Segment::number, "Which segment of that index this is.")
        .def_prop_ro("n_documents", &everglade::Segment::n_documents)
        .def_prop_ro("n_postings", &everglade::Segment::n_postings)
        .def_prop_ro("n_terms", &everglade::Segment::n_terms, "Size of the vocabulary, present or not.")
        .def_prop_ro("size_bytes", &everglade::Segment::size_bytes)
        .def_prop_ro("crc32c", &everglade::Segment::crc32c, "A checksum that stands for the whole content of the file.")
        .def(
            "id", [](const everglade::Segment& s, std::uint32_t local) { return to_str(s.id(local)); }, "local"_a,
            "The id of a document. ValueError if there is no such document.")
        .def("ids", &ids, "locals"_a.noconvert(), "The ids of several documents.")
        .def("find", &find, "id"_a, "The local number of the document with this id, or -1.")
        .def("document", &document, "local"_a, "The terms, ascending, and impacts of a document.");

    m.def("write_segment", &write_segment, "path"_a, "uuid"_a, "number"_a, "n_terms"_a, "indptr"_a.noconvert(),
          "terms"_a.noconvert(), "impacts"_a.noconvert(), "ids"_a,
          "Write one segment, whole and durable when this returns; give its documents, postings, size_bytes and "
          "crc32c.\n\n"
          "Row i of (indptr, terms, impacts) is the document ids[i]. Ids ascend in the order of their UTF-8 bytes, "
          "terms\n"
          "ascend within a row, and impacts are at least 1; ValueError if not. OSError if the file cannot be written; "
          "then\n"
          "nothing is left behind.");
    m.def(
        "search", &search, "segments"_a, "deleted"_a.noconvert(), "q_indptr"_a.noconvert(), "q_terms"_a.noconvert(),
        "q_impacts"_a.noconvert(), "k"_a, "threads"_a,
        "Find for each query the k documents with the greatest sums of query impact times document impact, exactly.\n\n"
        "deleted[i] hides documents of segments[i]: bit d % 8 of byte d // 8 for document d (numpy.packbits with\n"
        "bitorder='little'), or None. Gives segment, local and score, each of shape (n_queries, k), best first, equal\n"
        "scores by id; where there are fewer hits, segment is -1. Terms that a query names twice count twice. "
        "ValueError\n"
        "for a term outside the vocabulary, or impacts of a query that sum to more than 16,843,008.");
}
