//! Lists of which a plan wants nothing but their lengths, `cardinality(array_agg(DISTINCT x))`: they
//! need not be made.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::functions_nested::cardinality::Cardinality;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// Which columns of the input are lists that are counted in each place where they are used.
pub fn counted(exprs: &ProjectionExprs, input: &Schema) -> Vec<usize> {
    let mut uses = vec![Uses::default(); input.fields().len()];
    exprs.iter().for_each(|projected| note(&projected.expr, &mut uses));
    let is_counted = |(index, uses): &(usize, Uses)| {
        uses.counted && !uses.otherwise && is_plain_list(input.field(*index).data_type())
    };
    uses.into_iter().enumerate().filter(is_counted).map(|(index, _)| index).collect()
}

/// The expressions over an input that has the lengths in the places of such lists.
///
/// # Errors
/// Only of our own making.
pub fn over_lengths(exprs: &ProjectionExprs, counted: &[usize]) -> Result<ProjectionExprs> {
    let length = |expr: Arc<dyn PhysicalExpr>| {
        let column = counted_column(&expr).filter(|column| counted.contains(&column.index()));
        Ok(match column.cloned() {
            Some(column) => Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(expr),
        })
    };
    let rewritten = exprs.iter().map(|projected| {
        let expr = Arc::clone(&projected.expr).transform_up(length)?.data;
        Ok(ProjectionExpr { expr, alias: projected.alias.clone() })
    });
    Ok(ProjectionExprs::new(rewritten.collect::<Result<Vec<_>>>()?))
}

/// A schema with lengths in the places of lists.
pub fn with_lengths(schema: &Schema, counted: &[usize]) -> SchemaRef {
    let field = |(index, field): (usize, &Arc<Field>)| {
        if counted.contains(&index) {
            Arc::new(Field::new(field.name(), DataType::UInt64, true))
        } else {
            Arc::clone(field)
        }
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().enumerate().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// How a column is used.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    counted: bool,
    otherwise: bool,
}

fn note(expr: &Arc<dyn PhysicalExpr>, uses: &mut [Uses]) {
    if let Some(column) = counted_column(expr) {
        uses[column.index()].counted = true;
    } else if let Some(column) = expr.downcast_ref::<Column>() {
        uses[column.index()].otherwise = true;
    } else {
        expr.children().into_iter().for_each(|child| note(child, uses));
    }
}

/// The column whose elements an expression counts.
fn counted_column(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let [list] = function.args() else { return None };
    function.fun().inner().is::<Cardinality>().then(|| list.downcast_ref::<Column>())?
}

/// Of lists of lists it counts the elements of these.
fn is_plain_list(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) => !item.data_type().is_nested(),
        _ => false,
    }
}
