#include <libpq-fe.h>

/* Fields of an error by names that Swift can see. */
static inline const char *aurum_pg_sqlstate(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_SQLSTATE);
}
static inline const char *aurum_pg_constraint(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
}
static inline const char *aurum_pg_column(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
}
static inline const char *aurum_pg_message(const PGresult *result) {
    return PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
}

static void aurum_pg_ignore(void *unused, const PGresult *result) {
    (void)unused;
    (void)result;
}

/* Notices of the server go nowhere; libpq would print them. */
static inline void aurum_pg_quiet(PGconn *connection) {
    PQsetNoticeReceiver(connection, aurum_pg_ignore, NULL);
}
