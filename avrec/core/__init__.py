"""The ground floor: identifiers, interactions, data sets, queries, errors and safe files. numpy and pyarrow only."""
