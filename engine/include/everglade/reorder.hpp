#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace everglade {

/// The terms of documents: document d has terms[starts[d]] up to terms[starts[d + 1]], each below n_terms.
struct DocumentTerms {
    std::uint32_t n_terms;
    std::span<const std::int64_t> starts;
    std::span<const std::int32_t> terms;

    std::size_t n_documents() const noexcept { return starts.size() - 1; }
};

/// An order of the documents in which those that share terms lie close together, so that runs of them can be skipped by
/// their greatest impacts: entry i is the document that comes i-th. Recursive graph bisection (Dhulipala et al., KDD
/// 2016, arXiv 1602.08820): the documents are halved, and pairs change sides while that lowers the cost of coding the
/// gaps in the terms' postings; then each half likewise.
///
/// The same documents give the same order on any number of threads. Throws std::invalid_argument if `starts` or a term
/// is out of range.
std::vector<std::uint32_t> find_order(const DocumentTerms& documents, std::size_t n_threads);

}  // namespace everglade
