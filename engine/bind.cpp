// The engine as the Python module everglade._engine. It translates and nothing more.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <tuple>

#include "bind_segment.hpp"
#include "everglade/errors.hpp"
#include "everglade/reorder.hpp"
#include "everglade/score.hpp"
#include "everglade/search.hpp"

using namespace nanobind::literals;

namespace everglade::python {
namespace {

using Hidden = std::optional<Given<std::uint8_t>>;
using Found = std::tuple<Matrix<std::int32_t>, Matrix<std::uint32_t>, Matrix<std::uint32_t>>;

std::vector<SearchedSegment> searched(const std::vector<SegmentPointer>& segments, const std::vector<Hidden>& hidden) {
    if (segments.size() != hidden.size())
        throw std::invalid_argument("there must be one entry of hidden documents for each segment");
    std::vector<SearchedSegment> both;
    for (std::size_t i = 0; i < segments.size(); ++i) {
        both.push_back({segments[i].get(), std::nullopt});
        if (hidden[i]) both.back().hidden = view(*hidden[i]);
    }
    return both;
}

std::size_t positive(std::int64_t number, const char* name) {
    if (number < 1) throw std::invalid_argument(std::string(name) + " must be at least 1");
    return static_cast<std::size_t>(number);
}

/// Make room for k results of each query, and let `find` fill it without the GIL.
template <typename Find>
Found find_rows(const Given<std::int64_t>& q_indptr, const Given<std::int32_t>& q_terms,
                const Given<std::uint32_t>& q_impacts, std::size_t k, Find find) {
    const auto starts = copy(q_indptr);
    const auto terms = copy(q_terms);
    const auto impacts = copy(q_impacts);
    const std::size_t rows = starts.empty() ? 0 : starts.size() - 1;
    if (rows > PTRDIFF_MAX / sizeof(std::uint32_t) / k) throw std::bad_alloc();
    const std::size_t size = rows * k;
    auto segments = std::make_unique_for_overwrite<std::int32_t[]>(size);
    auto locals = std::make_unique_for_overwrite<std::uint32_t[]>(size);
    auto scores = std::make_unique_for_overwrite<std::uint32_t[]>(size);
    {
        const nb::gil_scoped_release released;
        find(Queries{starts, terms, impacts},
             Results{{segments.get(), size}, {locals.get(), size}, {scores.get(), size}});
    }
    return {to_numpy<Matrix<std::int32_t>>(std::move(segments), {rows, k}),
            to_numpy<Matrix<std::uint32_t>>(std::move(locals), {rows, k}),
            to_numpy<Matrix<std::uint32_t>>(std::move(scores), {rows, k})};
}

Path path_named(const std::string& name) {
    if (name == "auto") return Path::automatic;
    if (name == "scan") return Path::scan;
    if (name == "cells") return Path::cells;
    throw std::invalid_argument("path must be auto, scan or cells, not '" + name + "'");
}

Found search_all(const std::vector<SegmentPointer>& segments, const std::vector<Hidden>& hidden,
                 const Given<std::int64_t>& q_indptr, const Given<std::int32_t>& q_terms,
                 const Given<std::uint32_t>& q_impacts, std::int64_t k, std::int64_t threads, const std::string& path) {
    const auto both = searched(segments, hidden);
    const std::size_t columns = positive(k, "k");
    const Path way = path_named(path);
    const std::size_t n_threads = positive(threads, "threads");
    return find_rows(q_indptr, q_terms, q_impacts, columns, [&](const Queries& queries, const Results& results) {
        search(both, queries, columns, n_threads, results, way);
    });
}

Found search_some(const std::vector<SegmentPointer>& segments, const std::vector<Hidden>& hidden,
                  const Given<std::int64_t>& q_indptr, const Given<std::int32_t>& q_terms,
                  const Given<std::uint32_t>& q_impacts, std::int64_t k, std::int64_t threads, double mass,
                  std::int64_t candidates) {
    const auto both = searched(segments, hidden);
    const std::size_t columns = positive(k, "k");
    const std::size_t n_threads = positive(threads, "threads");
    const Approximation approximation{mass, positive(candidates, "candidates")};
    return find_rows(q_indptr, q_terms, q_impacts, columns, [&](const Queries& queries, const Results& results) {
        search_approximate(both, queries, columns, n_threads, approximation, results);
    });
}

Vector<std::uint32_t> score_all(const Segment& segment, const Given<std::uint32_t>& locals,
                                const Given<std::int32_t>& q_terms, const Given<std::uint32_t>& q_impacts) {
    const auto documents = copy(locals);
    const auto terms = copy(q_terms);
    const auto impacts = copy(q_impacts);
    auto scores = std::make_unique_for_overwrite<std::uint32_t[]>(documents.size());
    {
        const nb::gil_scoped_release released;
        score_documents(segment, documents, {terms, impacts}, {scores.get(), documents.size()});
    }
    return to_numpy<Vector<std::uint32_t>>(std::move(scores), {documents.size()});
}

Vector<double> score_all_float(const Segment& segment, const Given<std::uint32_t>& locals,
                               const Given<std::int32_t>& q_terms, const Given<float>& q_weights) {
    const auto documents = copy(locals);
    const auto terms = copy(q_terms);
    const auto weights = copy(q_weights);
    auto scores = std::make_unique_for_overwrite<double[]>(documents.size());
    {
        const nb::gil_scoped_release released;
        score_documents_float(segment, documents, terms, weights, {scores.get(), documents.size()});
    }
    return to_numpy<Vector<double>>(std::move(scores), {documents.size()});
}

Vector<std::uint32_t> order_of(const Given<std::int64_t>& indptr, const Given<std::int32_t>& given_terms,
                               std::uint32_t n_terms, std::int64_t threads) {
    const auto starts = copy(indptr);
    const auto terms = copy(given_terms);
    const std::size_t n_threads = positive(threads, "threads");
    const auto order = [&] {
        const nb::gil_scoped_release released;
        return find_order({n_terms, starts, terms}, n_threads);
    }();
    auto entries = std::make_unique_for_overwrite<std::uint32_t[]>(order.size());
    std::copy(order.begin(), order.end(), entries.get());
    return to_numpy<Vector<std::uint32_t>>(std::move(entries), {order.size()});
}

PyObject* corrupt_segment = nullptr;
PyObject* format_too_new = nullptr;

/// Engine exceptions become Python exceptions whose `args` are the fields.
void translate(const std::exception_ptr& thrown, void*) {
    try {
        std::rethrow_exception(thrown);
    } catch (const CorruptSegment& error) {
        PyErr_SetObject(corrupt_segment, nb::make_tuple(path_to_str(error.path), error.offset, error.why).ptr());
    } catch (const FormatTooNew& error) {
        PyErr_SetObject(format_too_new, nb::make_tuple(path_to_str(error.path), error.why).ptr());
    } catch (const FileError& error) {
        // Three arguments make OSError choose its subclass by errno, for example FileNotFoundError.
        PyErr_SetObject(PyExc_OSError, nb::make_tuple(error.code, error.why, path_to_str(error.path)).ptr());
    }
}

void bind_errors(nb::module_& m) {
    corrupt_segment = PyErr_NewExceptionWithDoc(
        "everglade._engine.CorruptSegment",
        "Bytes of a segment that are not what was written; args are path, offset, why.", PyExc_Exception, nullptr);
    format_too_new = PyErr_NewExceptionWithDoc("everglade._engine.FormatTooNew",
                                               "A segment written by a newer Everglade; args are path, why.",
                                               PyExc_Exception, nullptr);
    m.attr("CorruptSegment") = nb::handle(corrupt_segment);
    m.attr("FormatTooNew") = nb::handle(format_too_new);
    nb::register_exception_translator(translate);
}

void bind_search(nb::module_& m) {
    m.attr("MAX_QUERY_MASS") = kMaxQueryMass;
    m.attr("MAX_WIDE_QUERY_MASS") = kMaxWideQueryMass;
    m.def("search", &search_all, "segments"_a, "hidden"_a.noconvert(), "q_indptr"_a.noconvert(),
          "q_terms"_a.noconvert(), "q_impacts"_a.noconvert(), "k"_a, "threads"_a, "path"_a = "auto",
          "Find for each query the k documents with the greatest sums of query impact times posting impact, "
          "exactly.\n\n"
          "hidden[i] says which documents of segments[i] cannot be found: bit d % 8 of byte d // 8 for document d\n"
          "(numpy.packbits with bitorder='little'), or None. Gives segment, local and score, each of shape "
          "(n_queries, k),\n"
          "best first, equal scores by id; where there are fewer hits, segment is -1. Terms that a query names twice\n"
          "count twice. ValueError for a term outside the vocabulary, or impacts of a query that sum to more than\n"
          "MAX_QUERY_MASS, or MAX_WIDE_QUERY_MASS if one of the segments is wide: a score could pass 32 bits.\n"
          "path says how: 'scan' goes over all postings, 'cells' skips wherever a segment has cells, 'auto' takes what "
          "it\n"
          "expects to be cheaper. The hits are the same.");
    m.def(
        "search_approximate", &search_some, "segments"_a, "hidden"_a.noconvert(), "q_indptr"_a.noconvert(),
        "q_terms"_a.noconvert(), "q_impacts"_a.noconvert(), "k"_a, "threads"_a, "mass"_a, "candidates"_a,
        "Like search, but scan only the terms that can add most, and score the best candidates by all terms.\n\n"
        "Terms are scanned until what they can add is `mass` of what all can; the best `candidates`, at least k, are\n"
        "scored by their whole vectors, as score_documents does. With mass 1 and segments that are not pruned this is\n"
        "search. everglade.reference.search_approximate is its definition.");
    m.def("score_documents", &score_all, "segment"_a, "locals"_a.noconvert(), "q_terms"_a.noconvert(),
          "q_impacts"_a.noconvert(),
          "The sum of query impact times document impact for each of these documents, uint32.\n\n"
          "It goes over the rows, or over the postings where there are no rows. ValueError as search raises it, or if\n"
          "there is no such document.");
    m.def("score_documents_float", &score_all_float, "segment"_a, "locals"_a.noconvert(), "q_terms"_a.noconvert(),
          "q_weights"_a.noconvert(),
          "The sum of query weight times float16 weight for each of these documents, float64.\n\n"
          "Products are added in double in the ascending order of terms, so that every machine gives the same. "
          "ValueError\n"
          "if the segment keeps no weights, a weight of the query is negative or not finite, or a term or document is "
          "not\n"
          "there.");
}

void bind_order(nb::module_& m) {
    m.def("find_order", &order_of, "indptr"_a.noconvert(), "terms"_a.noconvert(), "n_terms"_a, "threads"_a,
          "An order of documents in which those that share terms lie close together, for write_segment.\n\n"
          "Row i of (indptr, terms) is document i; entry j of the result is the document that comes j-th. Recursive\n"
          "graph bisection (Dhulipala et al., KDD 2016). The same on any number of threads. ValueError for rows or "
          "terms\n"
          "out of range.");
}

}  // namespace
}  // namespace everglade::python

NB_MODULE(_engine, m) {
    m.doc() = "Segments of an index, exact and approximate search over them, and scores of single documents.";
    everglade::python::bind_errors(m);
    everglade::python::bind_segment(m);
    everglade::python::bind_search(m);
    everglade::python::bind_order(m);
}
