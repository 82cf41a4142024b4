// Segments as Python objects: written, opened and read.

#include "bind_segment.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>

#include "everglade/writer.hpp"

namespace everglade::python {
namespace {

using namespace nb::literals;

nb::str to_str(std::string_view text) { return nb::str(text.data(), text.size()); }

std::string_view to_view(nb::handle text) {
    Py_ssize_t size = 0;
    const char* const bytes = PyUnicode_Check(text.ptr()) ? PyUnicode_AsUTF8AndSize(text.ptr(), &size) : nullptr;
    if (bytes == nullptr && PyErr_Occurred()) throw nb::python_error();
    if (bytes == nullptr) throw nb::type_error("ids must be of type str");
    return {bytes, static_cast<std::size_t>(size)};
}

using GivenImpacts = std::variant<Given<std::uint8_t>, Given<std::uint16_t>>;

/// What write_segment may be given besides the vectors.
struct Extras {
    std::optional<Given<bool>> postings;
    std::optional<Given<std::uint32_t>> order;
    std::optional<Given<Half>> weights;
    bool rows;
    std::optional<std::uint32_t> cells_from;
};

WrittenSegment write_content(const std::string& path, const SegmentName& name, SegmentContent content,
                             const Extras& extras) {
    std::vector<std::uint32_t> order;
    if (extras.order) content.order = order = copy(*extras.order);
    // Any byte may stand in an array of booleans, but only two may be read as one.
    if (extras.postings) {
        content.postings = {reinterpret_cast<const std::uint8_t*>(extras.postings->data()), extras.postings->size()};
    }
    if (extras.weights) {
        content.weights = {reinterpret_cast<const std::uint16_t*>(extras.weights->data()), extras.weights->size()};
    }
    content.rows = extras.rows;
    content.cells_from = extras.cells_from;
    const nb::gil_scoped_release released;
    return write_segment(path, name, content);
}

nb::typed<nb::dict, nb::str, int> write(const std::filesystem::path& path, const nb::bytes& uuid, std::uint64_t number,
                                        std::uint32_t n_terms, const Given<std::int64_t>& indptr,
                                        const Given<std::int32_t>& terms, const GivenImpacts& impacts,
                                        const nb::typed<nb::list, nb::str>& ids,
                                        const std::optional<Given<bool>>& postings,
                                        const std::optional<Given<std::uint32_t>>& order,
                                        const std::optional<Given<Half>>& weights, bool rows,
                                        std::optional<std::uint32_t> cells_from) {
    SegmentName name{{}, number};
    if (uuid.size() != name.uuid.size()) throw std::invalid_argument("uuid must be 16 bytes long");
    std::copy_n(static_cast<const std::uint8_t*>(uuid.data()), name.uuid.size(), name.uuid.begin());
    std::string id_bytes;
    std::vector<std::uint64_t> id_starts{0};
    for (const nb::handle id : ids) {
        id_bytes += to_view(id);
        id_starts.push_back(id_bytes.size());
    }
    const std::vector<std::int64_t> starts = copy(indptr);
    const Impacts values = std::visit([](const auto& array) { return Impacts(view(array)); }, impacts);
    const WrittenSegment written =
        write_content(path.string(), name, {n_terms, starts, view(terms), values, id_starts, id_bytes},
                      {postings, order, weights, rows, cells_from});
    nb::dict summary;
    summary["documents"] = written.n_documents;
    summary["postings"] = written.n_postings;
    summary["size_bytes"] = written.size_bytes;
    summary["crc32c"] = written.crc32c;
    return nb::typed<nb::dict, nb::str, int>(summary);
}

SegmentPointer open_segment(const std::filesystem::path& path, bool verify) {
    const nb::gil_scoped_release released;
    return std::make_shared<Segment>(path.string(), verify ? Verify::everything : Verify::structure);
}

nb::typed<nb::list, nb::str> ids(const Segment& segment, const Given<std::uint32_t>& locals) {
    nb::list found;
    for (const std::uint32_t local : view(locals)) found.append(to_str(segment.id(local)));
    return nb::typed<nb::list, nb::str>(found);
}

nb::typed<nb::list, nb::str> all_ids(const Segment& segment) {
    nb::list found;
    for (std::uint32_t local = 0; local < segment.n_documents(); ++local) found.append(to_str(segment.id(local)));
    return nb::typed<nb::list, nb::str>(found);
}

std::int64_t find(const Segment& segment, const nb::str& id) {
    const auto local = segment.find(to_view(id));
    return local ? std::int64_t{*local} : -1;
}

using SomeImpacts = std::variant<Vector<std::uint8_t>, Vector<std::uint16_t>>;

/// Copies of numbers, as an array of another width.
template <typename Out, typename Read>
Vector<Out> copy_as(std::size_t count, Read read) {
    auto copies = std::make_unique_for_overwrite<Out[]>(count);
    {
        const nb::gil_scoped_release released;
        for (std::size_t i = 0; i < count; ++i) copies[i] = static_cast<Out>(read(i));
    }
    return to_numpy<Vector<Out>>(std::move(copies), {count});
}

template <typename Read>
SomeImpacts copy_impacts(bool wide, std::size_t count, Read read) {
    if (wide) return copy_as<std::uint16_t>(count, read);
    return copy_as<std::uint8_t>(count, read);
}

std::tuple<Vector<std::int32_t>, SomeImpacts> document(const Segment& segment, std::uint32_t local) {
    if (segment.has_rows()) {
        const auto [first, last] = segment.row(local);
        const Rows& rows = segment.rows();
        return {copy_as<std::int32_t>(last - first, [&, first](std::size_t i) { return rows.term(first + i); }),
                copy_impacts(segment.is_wide(), last - first,
                             [&, first](std::size_t i) { return rows.impacts[first + i]; })};
    }
    segment.require_local(local);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> found;
    for (std::size_t place = 0; place < segment.postings().terms.size(); ++place) {
        const std::uint32_t impact = segment.find_impact(place, local);
        if (impact != 0) found.emplace_back(segment.postings().terms[place], impact);
    }
    return {copy_as<std::int32_t>(found.size(), [&](std::size_t i) { return found[i].first; }),
            copy_impacts(segment.is_wide(), found.size(), [&](std::size_t i) { return found[i].second; })};
}

using AllRows = std::tuple<Vector<std::int64_t>, Vector<std::int32_t>, SomeImpacts>;

AllRows all_rows(const Segment& segment) {
    if (segment.has_rows()) {
        const Rows& rows = segment.rows();
        const std::size_t count = segment.n_row_entries();
        return {copy_as<std::int64_t>(rows.starts.size(), [&](std::size_t i) { return rows.starts[i]; }),
                copy_as<std::int32_t>(count, [&](std::size_t i) { return rows.term(i); }),
                copy_impacts(segment.is_wide(), count, [&](std::size_t i) { return rows.impacts[i]; })};
    }
    const GatheredRows rows = [&segment] {
        const nb::gil_scoped_release released;
        return segment.gather_rows();
    }();
    return {copy_as<std::int64_t>(rows.starts.size(), [&](std::size_t i) { return rows.starts[i]; }),
            copy_as<std::int32_t>(rows.terms.size(), [&](std::size_t i) { return rows.terms[i]; }),
            copy_impacts(segment.is_wide(), rows.terms.size(), [&](std::size_t i) { return rows.impacts[i]; })};
}

View<Half> weights(const SegmentPointer& segment) {
    if (!segment->has_weights()) throw std::invalid_argument("this segment keeps no weights");
    const auto all = segment->rows().weights;
    nb::capsule owner(new SegmentPointer(segment),
                      [](void* pointer) noexcept { delete static_cast<SegmentPointer*>(pointer); });
    return View<Half>(reinterpret_cast<const Half*>(all.data()), {all.size()}, owner);
}

void bind_writer(nb::module_& m) {
    m.def(
        "write_segment", &write, "path"_a, "uuid"_a, "number"_a, "n_terms"_a, "indptr"_a.noconvert(),
        "terms"_a.noconvert(), "impacts"_a.noconvert(), "ids"_a, nb::kw_only(),
        "postings"_a.noconvert().none() = nb::none(), "order"_a.noconvert().none() = nb::none(),
        "weights"_a.noconvert().none() = nb::none(), "rows"_a = true, "cells_from"_a.none() = kDenseFrom,
        "Write one segment, whole and durable when this returns; give its documents, postings, size_bytes and "
        "crc32c.\n\n"
        "Row i of (indptr, terms, impacts) is the document ids[i]. Ids ascend in the order of their UTF-8 bytes, "
        "terms\n"
        "ascend within a row, and impacts are at least 1; ValueError if not. Impacts of uint16 make a wide segment.\n"
        "postings says which entries become postings (pruning), order which row stands at each local number (row "
        "and\n"
        "local are the same without it), weights gives the float16 of each entry, finite and at least 0; rows=False\n"
        "leaves vectors by document out, which neither pruning nor weights allow. Postings of a term in a window of\n"
        "16,384 documents get cells, by which search skips, if they are cells_from or more; None for none. OSError if\n"
        "the file cannot be written; then nothing is left behind.");
}

}  // namespace

nb::object path_to_str(const std::string& path) {
    return nb::steal(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

void bind_segment(nb::module_& m) {
    nb::class_<Segment>(
        m, "Segment",
        "One immutable segment file, mapped read-only.\n\n"
        "A document is named by its local number, which is its rank by id unless the segment is reordered. Opening "
        "raises\n"
        "CorruptSegment, FormatTooNew or OSError. verify=False leaves out the checksums and the contents of postings, "
        "rows,\n"
        "weights, order and ids; the structure is always checked.")
        .def(nb::new_(&open_segment), "path"_a, "verify"_a = true)
        .def_prop_ro(
            "path", [](const Segment& segment) { return path_to_str(segment.path()); },
            nb::sig("def path(self) -> str"))
        .def_prop_ro(
            "uuid", [](const Segment& s) { return nb::bytes(s.uuid().data(), s.uuid().size()); },
            "The 16 bytes that name the index this segment was written for.")
        .def_prop_ro("number", &Segment::number, "Which segment of that index this is.")
        .def_prop_ro("n_documents", &Segment::n_documents)
        .def_prop_ro("n_postings", &Segment::n_postings)
        .def_prop_ro("n_row_entries", &Segment::n_row_entries,
                     "Entries of all vectors: the postings, and those that pruning left out of them.")
        .def_prop_ro("n_terms", &Segment::n_terms, "Size of the vocabulary, present or not.")
        .def_prop_ro("size_bytes", &Segment::size_bytes)
        .def_prop_ro("crc32c", &Segment::crc32c, "A checksum that stands for the whole content of the file.")
        .def_prop_ro("features", &Segment::features, "The feature bits of docs/index-format.md.")
        .def_prop_ro("is_wide", &Segment::is_wide, "Whether impacts are of 16 bits rather than 8.")
        .def_prop_ro("is_reordered", &Segment::is_reordered, "Whether documents stand in another order than by id.")
        .def_prop_ro("is_pruned", &Segment::is_pruned, "Whether the postings are only some of the row entries.")
        .def_prop_ro("has_rows", &Segment::has_rows, "Whether vectors are kept by document too.")
        .def_prop_ro("has_weights", &Segment::has_weights, "Whether the rows keep float16 weights.")
        .def_prop_ro(
            "n_dense_blocks", [](const Segment& s) { return s.cells().blocks.size(); },
            "Blocks of postings with cells, by which search can skip documents.")
        .def(
            "id", [](const Segment& s, std::uint32_t local) { return to_str(s.id(local)); }, "local"_a,
            "The id of a document. ValueError if there is no such document.")
        .def("ids", &ids, "locals"_a.noconvert(), "The ids of several documents.")
        .def("ids_all", &all_ids, "The ids of all documents, by local number.")
        .def("find", &find, "id"_a, "The local number of the document with this id, or -1.")
        .def("document", &document, "local"_a,
             // Callers that know narrow segments only are spared the union.
             nb::sig("def document(self, local: int) -> tuple[numpy.typing.NDArray[numpy.int32], "
                     "numpy.typing.NDArray[typing.Any]]"),
             "The vector of a document: its terms, int32 and ascending, and their impacts.\n\n"
             "Impacts are uint8, or uint16 if the segment is wide. Without rows they are looked up in the postings of\n"
             "every term. ValueError if there is no such document.")
        .def("rows", &all_rows,
             "The vectors of all documents by local number: indptr, terms and impacts, copied.\n\n"
             "Terms ascend in each row. Without rows the vectors are gathered from the postings.")
        .def("weights", &weights,
             "The float16 weight of each entry of rows(), read-only, without a copy. ValueError if none are kept.");
    bind_writer(m);
}

}  // namespace everglade::python
